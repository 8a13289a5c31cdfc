"""UpsertUserEmbeddings: what is refused, and what a vector does for a user of whom nothing else is known. SIMULATED users."""

import grpc
import numpy as np
import pytest
from eyecatch.core.errors import NotReady
from eyecatch.upkeep import vectors as upkeep
from eyecatch.v1 import behavior_pb2, covers_pb2, types_pb2

from tests.contracts.builders import MEAN
from tests.fakes import embed, picture
from tests.unit.api.conftest import Api, event

COLOURS = ("red", "lime", "blue", "yellow", "cyan", "magenta", "white", "black")
WIDTH = 24
BASIS = np.random.default_rng(1).standard_normal((3, WIDTH))


def embedding(user: str, *values: float) -> types_pb2.UserEmbedding:
    return types_pb2.UserEmbedding(user_id=user, values=values)


def upsert(api: Api, *embeddings: types_pb2.UserEmbedding) -> grpc.aio.UnaryUnaryCall:
    return api.behavior.UpsertUserEmbeddings(behavior_pb2.UpsertUserEmbeddingsRequest(embeddings=embeddings))


async def count(api: Api) -> int:
    return sum([len(rows.keys) async for rows in api.app.parts.store.vectors.scan()])


async def test_all_or_none_and_each_field_is_named(api: Api) -> None:
    good = embedding("mia", 1, 2)
    for bad, field in (
        (embedding("", 1, 2), "embeddings[1].user_id"),
        (embedding("mia", 1, 2), "embeddings[1].user_id"),
        (embedding("noah"), "embeddings[1].values"),
        (embedding("noah", 1, 2, 3), "embeddings[1].values"),
        (embedding("noah", 0, 0), "embeddings[1].values"),
        (embedding("noah", 1, float("nan")), "embeddings[1].values[1]"),
        (embedding("noah", float("-inf"), 1), "embeddings[1].values[0]"),
    ):
        assert await api.refused(upsert(api, good, bad)) == {field}
    assert await api.refused(upsert(api, embedding("noah", *[1.0] * 1025))) == {"embeddings[0].values"}
    assert await api.refused(upsert(api)) == {"embeddings"}
    assert await api.refused(upsert(api, *[embedding(f"u{n}", 1) for n in range(1001)])) == {"embeddings"}
    assert await count(api) == 0
    assert (await upsert(api, good)).stored == 1
    assert await api.refused(upsert(api, embedding("noah", 1))) == {"embeddings[0].values"}, "the first width stays"
    assert (await upsert(api, embedding("mia", 3, 4))).stored == 1
    assert await count(api) == 1


async def test_a_forgotten_user_has_no_vector(api: Api) -> None:
    await upsert(api, embedding("mia", 1, 2))
    assert (await api.behavior.ForgetUser(behavior_pb2.ForgetUserRequest(user_id="mia"))).existed
    assert await count(api) == 0
    answer = await upsert(api, embedding("mia", 1, 2), embedding("noah", 2, 1))
    assert (answer.stored, answer.ignored) == (1, 1)


def colour_of(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def vector_of(colour: str, rng: np.random.Generator) -> np.ndarray:
    """What another model knows of a user who likes this colour: the colour in other numbers, and noise."""
    basis = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    rgb = embed(picture(colour)) @ np.linalg.pinv(basis)
    return rgb @ BASIS + 0.02 * rng.standard_normal(WIDTH) + 5


async def simulate(api: Api, users: int, exchanged: bool = False) -> None:
    """Users like covers of one colour each, with one exception, and have a vector; some have a vector alone, some behaviour alone."""
    rng = np.random.default_rng(2)
    for n in range(10):
        await api.put(f"i{n}", *COLOURS)
    pools = await api.app.parts.store.catalog.pools([f"i{n}" for n in range(10)])
    covers = {(item, name): cover for item, pool in pools.items() for cover, name in zip(pool, COLOURS, strict=True)}
    nearest = {name: max(COLOURS, key=lambda c: float(embed(picture(c)) @ embed(picture(name)))) for name in COLOURS}
    assert all(nearest[name] == name for name in COLOURS)
    events, embeddings = [], []
    for n in range(users):
        colour = colour_of(n)
        for k in range(7):
            shown = colour if k else colour_of(n + 1 + n // 8)
            item = f"i{(n + k) % 10}"
            liked = next(c for (i, _), c in covers.items() if i == item and _is(c.embedding, shown))
            events.append(event(f"{n}-{k}", f"u{n}", item, cover_id=liked.id, time=1_700_000_000 + k))
        vector = vector_of(colour_of(int(rng.integers(8))) if exchanged else colour, rng)
        embeddings.append(embedding(f"u{n}", *vector))
    for first in range(0, len(events), 1000):
        await api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=events[first : first + 1000]))
    await upsert(api, *embeddings)


def _is(vector: np.ndarray, colour: str) -> bool:
    return float(vector @ embed(picture(colour))) > 0.99


async def first_colour(api: Api, user: str) -> tuple[str, bool]:
    """The colour of the first cover for a user, and whether the answer is personalised."""
    ranked = await api.covers.RankCovers(covers_pb2.RankCoversRequest(user_id=user, item_id="i3", limit=8))
    cover = await api.app.parts.store.catalog.cover(ranked.covers[0].cover_id)
    assert cover is not None
    return max(COLOURS, key=lambda c: float(cover.embedding @ embed(picture(c)))), ranked.personalised


async def test_a_new_user_with_a_vector_gets_covers_of_the_users_taste(api: Api) -> None:
    await simulate(api, 80)
    rng = np.random.default_rng(3)
    await upsert(api, *[embedding(f"before-{c}", *vector_of(c, rng)) for c in COLOURS])
    assert (await first_colour(api, "before-red"))[1] is False, "no map yet"
    report = await upkeep.fit(api.app.parts.store, MEAN)
    assert report.adopted
    assert (report.users, report.with_vector, report.overlap, report.reached, report.cold) == (88, 88, 80, 88, 8)
    cosine, accuracy = report.figures.cosine, report.figures.accuracy
    assert cosine["mapped"] > cosine["shuffled"] + 0.5
    assert accuracy["mapped"] > max(accuracy["mean_user"], accuracy["shuffled"], accuracy["cold"]) + 0.1
    await upsert(api, *[embedding(f"after-{c}", *vector_of(c, rng)) for c in COLOURS])
    assert (await first_colour(api, "nobody"))[1] is False
    for kind in ("before", "after"):
        answers = [await first_colour(api, f"{kind}-{c}") for c in COLOURS]
        assert all(personalised for _, personalised in answers)
        assert sum(colour == c for (colour, _), c in zip(answers, COLOURS, strict=True)) >= 6, answers
    profile = (await api.behavior.GetProfile(behavior_pb2.GetProfileRequest(user_id="after-red"))).profile
    assert profile.event_count == 0
    user = await api.app.parts.store.profiles.embedding("after-red", MEAN)
    generated = [
        update
        async for update in api.covers.GenerateCovers(
            covers_pb2.GenerateCoversRequest(item_id="i3", user_id="after-red", seed=1)
        )
    ]
    assert generated
    assert np.allclose(api.generator.briefs[-1].user_embedding, user, atol=1e-3), "the generator draws for the prior"


async def test_behaviour_outweighs_a_vector_that_was_wrong(api: Api) -> None:
    await simulate(api, 80)
    await upkeep.fit(api.app.parts.store, MEAN)
    await upsert(api, embedding("mia", *vector_of("red", np.random.default_rng(4))))
    pool = (await api.app.parts.store.catalog.pools(["i0"]))["i0"]
    blue = next(c for c in pool if _is(c.embedding, "blue"))
    for n in range(12):
        one = event(f"m{n}", "mia", "i0", cover_id=blue.id, time=1_700_000_000 + n)
        await api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=[one]))
    assert await first_colour(api, "mia") == ("blue", True)


async def test_vectors_that_say_nothing_are_not_used(api: Api) -> None:
    await simulate(api, 80, exchanged=True)
    before = await api.app.parts.store.profiles.embedding("u1", MEAN)
    report = await upkeep.fit(api.app.parts.store, MEAN)
    assert not report.adopted
    assert report.reached == 0
    after = await api.app.parts.store.profiles.embedding("u1", MEAN)
    assert before is not None
    assert np.array_equal(before, after)
    assert await upkeep.show(api.app.parts.store, MEAN) == (80, WIDTH, None)
    assert (await upkeep.fit(api.app.parts.store, MEAN, anyway=True)).reached == 80


async def test_too_little_to_learn_from_is_refused_with_the_numbers(api: Api) -> None:
    store = api.app.parts.store
    with pytest.raises(NotReady, match=r"enough behaviour: 0; allowed: at least 50 .0 users have a vector"):
        await upkeep.fit(store, MEAN)
    await api.put("a", "red")
    await upsert(api, embedding("mia", 1, 2))
    with pytest.raises(NotReady, match=r"enough behaviour: 0; allowed: at least 50 .1 users have a vector"):
        await upkeep.fit(store, MEAN)
    likes = [event(f"e{n}", "mia", "a", time=1_700_000_000 + n) for n in range(5)]
    await api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=likes))
    with pytest.raises(NotReady, match="enough behaviour: 1; allowed: at least 50"):
        await upkeep.fit(store, MEAN)


async def test_a_catalogue_of_three_items_has_cosines(api: Api) -> None:
    """Everybody likes all three covers there are: no pair can be drawn, and the vectors can say nothing."""
    for n, colour in enumerate(("red", "lime", "blue")):
        await api.put(f"i{n}", colour)
    likes = [event(f"{u}-{n}", f"u{u}", f"i{n % 3}", time=1_700_000_000 + n) for u in range(60) for n in range(6)]
    await api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=likes))
    rng = np.random.default_rng(0)
    await upsert(api, *[embedding(f"u{u}", *rng.standard_normal(4)) for u in range(60)])
    report = await upkeep.fit(api.app.parts.store, MEAN)
    assert report.figures.accuracy == {}
    assert not report.adopted


async def test_dropped_vectors_leave_what_behaviour_says(api: Api) -> None:
    await simulate(api, 80)
    store = api.app.parts.store
    before = await store.profiles.embedding("u1", MEAN)
    await upsert(api, embedding("mia", *vector_of("red", np.random.default_rng(4))))
    await upkeep.fit(store, MEAN)
    assert await store.profiles.embedding("mia", MEAN) is not None
    assert await upkeep.drop(store, MEAN) == 81
    assert await store.profiles.embedding("mia", MEAN) is None
    after = await store.profiles.embedding("u1", MEAN)
    assert before is not None
    assert after is not None
    assert np.allclose(before, after)
    assert await upkeep.show(store, MEAN) == (0, 0, None)
    assert (await upsert(api, embedding("mia", 1, 2, 3))).stored == 1, "another width may come"
