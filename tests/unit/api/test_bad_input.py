"""Hostile and mistaken requests: each is refused with the field named, nothing is stored, and the server stays up."""

import io
import struct
import time
import zlib

import grpc
import pytest
from eyecatch.v1 import behavior_pb2, catalog_pb2, covers_pb2, types_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from PIL import Image

from tests.fakes import picture
from tests.unit.api.conftest import Api, event
from tests.waiting import until

CODE = grpc.StatusCode


def bomb() -> bytes:
    """A PNG that says it has 50,000 × 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def zero_by_zero() -> bytes:
    data = bytearray(picture())
    data[16:24] = bytes(8)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


REFUSED_PICTURES = {
    "no picture": b"",
    "wrong MIME": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "text": b"hello",
    "truncated JPEG": picture("red", (300, 300), "JPEG")[:400],
    "bomb": bomb(),
    "0x0": zero_by_zero(),
    "30000x1": picture("red", (30_000, 1)),
    "over 10 MB": b"\x89PNG\r\n\x1a\n" + bytes(11 << 20),
}


@pytest.mark.parametrize("name", REFUSED_PICTURES)
async def test_bad_pictures(api: Api, name: str) -> None:
    good = types_pb2.Item(id="good", title="Good", references=[types_pb2.Image(data=picture())])
    bad = types_pb2.Item(id="bad", title="Bad", references=[types_pb2.Image(data=REFUSED_PICTURES[name])])
    call = api.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[good, bad]))
    assert {f.rsplit(".data")[0] for f in await api.refused(call)} == {"items[1].references[0]"}
    assert not (await api.catalog.ListItems(catalog_pb2.ListItemsRequest())).items, "all or none"


def odd_pictures() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.new("RGB", (40, 40), c) for c in ("red", "blue")]
    animated = io.BytesIO()
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    cmyk, deep = io.BytesIO(), io.BytesIO()
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(cmyk, "JPEG")
    Image.new("I;16", (40, 40), 65535).save(deep, "PNG")
    return {
        "animated": animated.getvalue(),
        "cmyk": cmyk.getvalue(),
        "16 bit": deep.getvalue(),
        "rotated": picture("red", (80, 40), "JPEG", exif=exif),
    }


@pytest.mark.parametrize("name", odd_pictures())
async def test_odd_pictures_become_ordinary_covers(api: Api, name: str) -> None:
    item = types_pb2.Item(id="odd", title="Odd", references=[types_pb2.Image(data=odd_pictures()[name])])
    await api.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[item]))
    cover = (await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="odd"))).covers[0]
    assert (cover.width, cover.height) == ((40, 80) if name == "rotated" else (40, 40))


REFUSED_ITEMS = {
    "empty title": (types_pb2.Item(id="a", title=""), "items[0].title"),
    "blank title": (types_pb2.Item(id="a", title=" \u3000 "), "items[0].title"),
    "10 MB title": (types_pb2.Item(id="a", title="x" * (10 << 20)), "items[0].title"),
    "control characters": (types_pb2.Item(id="a", title="two\nlines"), "items[0].title"),
    "null character": (types_pb2.Item(id="a", title="nul\0"), "items[0].title"),
    "direction override": (types_pb2.Item(id="a", title="abc\u202edef"), "items[0].title"),
    "empty id": (types_pb2.Item(id="", title="t"), "items[0].id"),
    "long id": (types_pb2.Item(id="x" * 129, title="t"), "items[0].id"),
    "long category": (types_pb2.Item(id="a", title="t", category="c" * 129), "items[0].category"),
    "9 references": (
        types_pb2.Item(id="a", title="t", references=[types_pb2.Image(data=b"x")] * 9),
        "items[0].references",
    ),
}


@pytest.mark.parametrize("name", REFUSED_ITEMS)
async def test_bad_items(api: Api, name: str) -> None:
    item, field = REFUSED_ITEMS[name]
    assert field in await api.refused(api.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[item])))


@pytest.mark.parametrize("title", ["🐼 panda 👩🏽‍🚀", "שלום עולם", "مرحبا", "大熊猫", "Crème brûlée"])
async def test_titles_of_the_world_are_kept_as_they_are(api: Api, title: str) -> None:
    await api.put("a", title=title)
    assert (await api.catalog.GetItem(catalog_pb2.GetItemRequest(item_id="a"))).item.title == title


@pytest.mark.parametrize(
    "uri", ["http://example.com/a.png", "https://127.0.0.1/a", "file:///etc/passwd", "ftp://x/y", "//x", "::"]
)
async def test_addresses_are_not_fetched_unless_allowed(api: Api, uri: str) -> None:
    item = types_pb2.Item(id="a", title="t", references=[types_pb2.Image(uri=uri)])
    refused = await api.refused(api.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[item])))
    assert refused == {"items[0].references[0].uri"}


async def test_an_unknown_blob_is_not_found(api: Api) -> None:
    for uri in ("blob:" + "0" * 64 + ".webp", "blob:../../etc/passwd"):
        item = types_pb2.Item(id="a", title="t", references=[types_pb2.Image(uri=uri)])
        await api.refused(api.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[item])), CODE.NOT_FOUND)


Recommend = covers_pb2.RecommendCoversRequest
REFUSED_RECOMMENDATIONS = {
    "no items": (Recommend(), {"item_ids"}),
    "10,000 items": (Recommend(item_ids=[f"i{n}" for n in range(10_000)]), {"item_ids"}),
    "duplicate ids": (Recommend(item_ids=["a", "b", "a"]), {"item_ids[2]"}),
    "negative k": (Recommend(item_ids=["a"], covers_per_item=-1), {"covers_per_item"}),
    "k too large": (Recommend(item_ids=["a"], covers_per_item=17), {"covers_per_item"}),
    "bad ids": (Recommend(item_ids=["", "b\n", " c", "x" * 129]), {f"item_ids[{n}]" for n in range(4)}),
    "bad user": (Recommend(user_id="u\0", item_ids=["a"]), {"user_id"}),
    "several": (Recommend(user_id="u\0", item_ids=["a"], covers_per_item=-5), {"user_id", "covers_per_item"}),
}


@pytest.mark.parametrize("name", REFUSED_RECOMMENDATIONS)
async def test_bad_recommendations(api: Api, name: str) -> None:
    request, expected = REFUSED_RECOMMENDATIONS[name]
    assert await api.refused(api.covers.RecommendCovers(request)) == expected


REFUSED_EVENTS = {
    "no id": ({"id": ""}, "id"),
    "no user": ({"user_id": ""}, "user_id"),
    "no action": ({"action": types_pb2.ACTION_UNSPECIFIED}, "action"),
    "unknown action": ({"action": 99}, "action"),
    "clock in the future": ({"time": Timestamp(seconds=int(time.time()) + 7200)}, "time"),
    "before 1970": ({"time": Timestamp(seconds=-5)}, "time"),
    "no time": ({"time": None}, "time"),
    "dwell of days": ({"dwell_ms": 2**31}, "dwell_ms"),
}


@pytest.mark.parametrize("name", REFUSED_EVENTS)
async def test_bad_events_refuse_the_whole_call(api: Api, name: str) -> None:
    change, field = REFUSED_EVENTS[name]
    good = event("e0", "mia", "a")
    bad = types_pb2.Event()
    bad.CopyFrom(event("e1", "mia", "a"))
    for key, value in change.items():
        if value is None:
            bad.ClearField(key)
        elif isinstance(value, Timestamp):
            bad.time.CopyFrom(value)
        else:
            setattr(bad, key, value)
    call = api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=[good, bad]))
    assert await api.refused(call) == {f"events[1].{field}"}
    get = behavior_pb2.GetProfileRequest(user_id="mia")
    await api.refused(api.behavior.GetProfile(get), CODE.NOT_FOUND)


async def test_events_about_a_cover_of_another_item_are_refused_whole(api: Api) -> None:
    await api.put("a", "red")
    await api.put("b", "blue")
    covers = await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="b"))
    own, foreign = event("e1", "mia", "b"), event("e2", "mia", "a")
    own.cover_id = foreign.cover_id = covers.covers[0].id
    call = api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=[own, foreign]))
    assert await api.refused(call) == {"events[1].cover_id"}
    assert (await api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=[own]))).accepted == 1


async def test_repeated_and_forgotten(api: Api) -> None:
    await api.put("a", "red")
    send = behavior_pb2.RecordEventsRequest(events=[event("e1", "mia", "a"), event("e2", "mia", "a")])
    first, second = [await api.behavior.RecordEvents(send) for _ in range(2)]
    assert (first.accepted, first.ignored, second.accepted, second.ignored) == (2, 0, 0, 2)
    profile = (await api.behavior.GetProfile(behavior_pb2.GetProfileRequest(user_id="mia"))).profile
    assert (profile.event_count, len(profile.recent_events)) == (2, 2)
    assert profile.HasField("taste")
    forget = behavior_pb2.ForgetUserRequest(user_id="mia")
    assert (await api.behavior.ForgetUser(forget)).existed
    assert not (await api.behavior.ForgetUser(forget)).existed
    again = behavior_pb2.RecordEventsRequest(events=[event("e3", "mia", "a")])
    assert (await api.behavior.RecordEvents(again)).ignored == 1
    answer = await api.covers.RecommendCovers(Recommend(user_id="mia", item_ids=["a"]))
    assert not answer.personalised


async def test_users_get_a_taste_when_their_items_get_pictures(api: Api) -> None:
    await api.put("a")
    users = [f"u{n}" for n in range(30)]
    events = [event(f"e{user}", user, "a") for user in users]
    await api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=events))

    async def tastes() -> int:
        requests = [behavior_pb2.GetProfileRequest(user_id=user) for user in users]
        return sum([(await api.behavior.GetProfile(request)).profile.HasField("taste") for request in requests])

    assert await tastes() == 0

    async def all_have_one() -> bool:
        return await tastes() == len(users)

    await api.put("a", "red")
    await until(all_have_one, "tastes without another event")


NAN = float("nan")
Generate = covers_pb2.GenerateCoversRequest
REFUSED_GENERATIONS = {
    "NaN strength": (Generate(item_id="a", strength=NAN), {"strength"}),
    "infinite reference strength": (Generate(item_id="a", reference_strength=float("inf")), {"reference_strength"}),
    "a reference within inpainting": (
        Generate(item_id="a", inpaint=True, reference_strength=0.5),
        {"reference_strength"},
    ),
    "no reference within inpainting": (
        Generate(item_id="a", inpaint=True, reference_strength=0.0),
        {"reference_strength"},
    ),
    "no bucket": (Generate(item_id="a", target_kpi="viral"), {"target_kpi"}),
    "a segment and a user": (Generate(item_id="a", segment="3", user_id="mia"), {"segment"}),
    "no segment's name": (Generate(item_id="a", segment="a\u202eb"), {"segment"}),
    "no product's id": (Generate(item_id="a", product_id="../mug"), {"product_id"}),
    "strength 2": (Generate(item_id="a", strength=2), {"strength"}),
    "17 covers": (Generate(item_id="a", count=17), {"count"}),
    "-1 covers": (Generate(item_id="a", count=-1), {"count"}),
    "0 steps": (Generate(item_id="a", steps=0), {"steps"}),
    "10,000 steps": (Generate(item_id="a", steps=10_000), {"steps"}),
    "huge seed": (Generate(item_id="a", seed=2**64 - 1), {"seed"}),
    "no item": (Generate(), {"item_id"}),
}


@pytest.mark.parametrize("name", REFUSED_GENERATIONS)
async def test_bad_generations(api: Api, name: str) -> None:
    await api.put("a", "red")
    request, expected = REFUSED_GENERATIONS[name]
    assert await api.refused(api.covers.GenerateCovers(request).read()) == expected
    assert api.generator.steps_done == 0


async def test_bad_page_tokens(api: Api) -> None:
    await api.put("a", "red")
    for token in ("x", "from:", "from:-1", "from:²", "from:99999999999999999999"):
        call = api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="a", page_token=token))
        assert await api.refused(call) == {"page_token"}
    call = api.catalog.ListItems(catalog_pb2.ListItemsRequest(page_token="garbage"))
    assert await api.refused(call) == {"page_token"}
    call = api.catalog.ListItems(catalog_pb2.ListItemsRequest(page_size=-1))
    assert await api.refused(call) == {"page_size"}


async def test_a_message_over_the_limit_and_garbage_bytes(api: Api) -> None:
    large = api.channel.unary_unary("/eyecatch.v1.CatalogService/UpsertItems")
    await api.refused(large(bytes(33 << 20)), CODE.RESOURCE_EXHAUSTED)
    garbage = api.channel.unary_unary("/eyecatch.v1.CoversService/RecommendCovers")
    assert await api.refused(garbage(b"\xff\xff\xff\xff")) == {"request"}
    not_utf8 = b"\x0a\x02\xff\xfe"
    assert await api.refused(garbage(not_utf8)) == {"request"}


async def test_a_deadline_already_over(api: Api) -> None:
    await api.put("a", "red")
    call = api.covers.RecommendCovers(Recommend(item_ids=["a"]), timeout=-1)
    await api.refused(call, CODE.DEADLINE_EXCEEDED)
