"""With default flags no made cover takes the place of a catalogue cover, however well it scores."""

import asyncio
from pathlib import Path

import pytest
from eyecatch.config import Config
from eyecatch.core.types import Origin
from eyecatch.v1 import behavior_pb2, catalog_pb2, covers_pb2, review_pb2, types_pb2

from tests.unit.api.conftest import Api, event

POSTERS = [f"poster-{n}" for n in range(20)]
COLOURS = ("navy", "maroon", "olive", "teal", "gray")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The default `serve`, but that every item counts as thin and the fake generator's covers get the best stored rewards."""
    return Config(data_dir=str(tmp_path / "data"), port=0, pool_min=16, drain_s=0.0, reward_weights="aesthetic=100")


async def with_posters(api: Api) -> None:
    for n, id in enumerate(POSTERS):
        await api.put(id, COLOURS[n % len(COLOURS)], title=f"Film {n}")


async def made_for(api: Api, item_id: str, **more: object) -> list[types_pb2.Cover]:
    api.generator.rewards = {"aesthetic": 1.0}
    request = covers_pb2.GenerateCoversRequest(item_id=item_id, **more)
    return [u.cover async for u in api.covers.GenerateCovers(request) if u.WhichOneof("update") == "cover"]


async def shown(api: Api, k: int, rounds: int = 50) -> list[types_pb2.ScoredCover]:
    request = covers_pb2.RecommendCoversRequest(user_id="mia", item_ids=POSTERS, covers_per_item=k)
    return [c for _ in range(rounds) for i in (await api.covers.RecommendCovers(request)).items for c in i.covers]


async def test_a_default_server_shows_twenty_posters_and_no_made_cover(api: Api) -> None:
    await with_posters(api)
    new = [cover for id in POSTERS for cover in await made_for(api, id, count=2)]
    assert len(new) == 40
    liked = [event(f"e{n}", "mia", cover.item_id, cover_id=cover.id) for n, cover in enumerate(new)]
    await api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=liked))
    for k in (1, 3):
        answers = await shown(api, k)
        assert {c.cover_id for c in answers}.isdisjoint(c.id for c in new), (
            "exploration and places behind the first included"
        )
        assert len({c.cover_id for c in answers}) == len(POSTERS)
    ranked = await api.covers.RankCovers(covers_pb2.RankCoversRequest(user_id="mia", limit=100))
    assert len(ranked.covers) == len(POSTERS), "the whole catalogue ranked for the user holds no made cover either"


async def test_a_default_server_makes_no_cover_that_nobody_asked_for(api: Api) -> None:
    await with_posters(api)
    await shown(api, 1, rounds=2)
    # What a thin pool asks for would reach the queue on the next turns of the loop.
    for _ in range(20):
        await asyncio.sleep(0)
    assert await api.app.parts.store.queue.waiting() == 0
    assert api.generator.briefs == []


async def test_an_item_whose_only_cover_waits_for_an_editor_has_none(api: Api) -> None:
    await api.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[types_pb2.Item(id="bare", title="No picture")]))
    (new,) = await made_for(api, "bare")
    request = covers_pb2.RecommendCoversRequest(item_ids=["bare", "bare-too"], covers_per_item=1)
    for k in (1, 2):
        request.covers_per_item = k
        answer = await api.covers.RecommendCovers(request)
        assert answer.items[0].problem == covers_pb2.ITEM_PROBLEM_NO_COVER
    await api.review.ApproveCover(review_pb2.ApproveCoverRequest(cover_id=new.id))
    answer = await api.covers.RecommendCovers(request)
    assert [c.cover_id for c in answer.items[0].covers] == [new.id]


async def test_a_made_cover_stays_in_the_store_to_be_looked_at(api: Api) -> None:
    await with_posters(api)
    (new,) = await made_for(api, POSTERS[0])
    listed = await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id=POSTERS[0]))
    assert {c.id: c.provenance.origin for c in listed.covers}[new.id] == Origin.GENERATED
