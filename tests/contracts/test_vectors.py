"""The UserVectors port: vectors and priors of users, what they do to user embeddings, and how they are forgotten."""

import asyncio

import numpy as np
from eyecatch.core.types import RECENT_EVENTS, Action, Prior, UserVector, UserVectorRows, Vector

from tests.contracts.builders import MEAN, Each, Stores, cover, event, item, unit

TRUST = 6


def both(count: int, events: Vector, prior_row: Vector) -> Vector:
    """A unit embedding from so many events, and a prior."""
    share = TRUST / (count + TRUST) * (1 - count / RECENT_EVENTS)
    mixed = (1 - share) * events + share * prior_row / np.linalg.norm(prior_row)
    return mixed / np.linalg.norm(mixed)


def vector(user: str = "mia", seed: int = 7, width: int = 5) -> UserVector:
    return UserVector(user, unit(seed, width))


def half(seed: int) -> Vector:
    return unit(seed) / 2


def prior(*seeds: int) -> list[Prior]:
    return [Prior(half(seed), TRUST) for seed in seeds]


async def stored(stores: Stores, batch: int = 1000) -> list[UserVectorRows]:
    return [rows async for rows in stores.vectors.scan(batch)]


def near(result: Vector | None, expected: Vector) -> bool:
    return result is not None and bool(np.allclose(result, expected, atol=4e-3))


async def test_a_vector_without_a_prior_is_kept_and_gives_no_profile(stores: Stores) -> None:
    assert await stored(stores) == []
    assert await stores.vectors.put([vector()], None, MEAN) == 1
    (rows,) = await stored(stores)
    assert np.array_equal(rows.vectors, vector().values[None])
    assert await stores.profiles.profile("mia") is None
    assert await stores.profiles.embedding("mia", MEAN) is None


async def test_the_last_vector_of_a_user_counts(stores: Stores) -> None:
    await stores.vectors.put([vector(seed=1), vector("noah")], None, MEAN)
    await stores.vectors.put([vector(seed=2)], None, MEAN)
    (rows,) = await stored(stores)
    assert len(rows.keys) == 2
    assert any(np.array_equal(row, unit(2, 5)) for row in rows.vectors)
    assert [len(rows.keys) for rows in await stored(stores, 1)] == [1, 1]


async def test_a_user_without_behaviour_is_at_the_prior(stores: Stores) -> None:
    assert await stores.profiles.embedding("mia", MEAN) is None, "and what a cache knows of her is dropped"
    assert await stores.vectors.put([vector()], prior(1), MEAN) == 1
    assert near(await stores.profiles.embedding("mia", MEAN), half(1))
    profile = await stores.profiles.profile("mia")
    assert profile is not None
    assert (profile.event_count, profile.events, profile.encoder) == (0, (), MEAN.version)
    await stores.vectors.put([vector()], prior(2), MEAN)
    assert near(await stores.profiles.embedding("mia", MEAN), half(2))


async def test_behaviour_takes_over(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a")], [cover("c1", "a", 1)])
    await stores.vectors.put([vector()], prior(2), MEAN)
    for n in range(1, 9):
        await stores.profiles.absorb([event(f"e{n}", cover_id="c1", time=1e9 + n)], MEAN)
        assert near(await stores.profiles.embedding("mia", MEAN), both(n, unit(1), half(2)))
    await stores.profiles.absorb([event("i", action=Action.IMPRESSION)], MEAN)
    assert near(await stores.profiles.embedding("mia", MEAN), both(8, unit(1), half(2)))


async def test_events_of_a_cover_without_an_embedding_are_no_evidence(stores: Stores) -> None:
    await stores.vectors.put([vector()], prior(2), MEAN)
    await stores.profiles.absorb([event("e1", item_id="gone")], MEAN)
    assert near(await stores.profiles.embedding("mia", MEAN), half(2))


async def test_a_prior_comes_to_a_user_with_behaviour(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a")], [cover("c1", "a", 1)])
    await stores.profiles.absorb([event("e1", cover_id="c1")], MEAN)
    assert near(await stores.profiles.embedding("mia", MEAN), unit(1))
    await stores.vectors.put([vector()], prior(2), MEAN)
    assert near(await stores.profiles.embedding("mia", MEAN), both(1, unit(1), half(2)))
    profile = await stores.profiles.profile("mia")
    assert profile is not None
    assert [e.id for e in profile.events] == ["e1"]
    assert await stores.profiles.absorb([event("e1", cover_id="c1")], MEAN) == 0


async def test_a_prior_is_of_one_encoder(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a")], [cover("c1", "a", 1)])
    other = Each(lambda events: unit(9) if events else np.zeros(64, np.float32), version=77)
    await stores.vectors.put([vector(), vector("noah")], prior(2, 3), MEAN)
    assert await stores.profiles.embedding("noah", other) is None
    await stores.profiles.absorb([event("e1", cover_id="c1")], other)
    assert near(await stores.profiles.embedding("mia", other), unit(9))
    keys = [key async for heads in stores.profiles.scan() for key in heads.keys]
    assert await stores.profiles.reencode(keys, MEAN) == 1
    assert near(await stores.profiles.embedding("mia", MEAN), both(1, unit(1), half(2)))


async def test_priors_are_replaced_by_those_of_another_map(stores: Stores) -> None:
    await stores.vectors.put([vector(f"u{n}", n) for n in range(5)], None, MEAN)

    def mapped(rows: UserVectorRows) -> list[Prior]:
        return [Prior(row @ unit(3, 5 * 64).reshape(5, 64), TRUST) for row in rows.vectors]

    for rows in await stored(stores, 2):
        assert await stores.vectors.set_priors(rows, mapped(rows), MEAN) == len(rows.keys)
    for n in range(5):
        expected = unit(n, 5) @ unit(3, 5 * 64).reshape(5, 64)
        assert near(await stores.profiles.embedding(f"u{n}", MEAN), expected)
    for rows in await stored(stores):
        await stores.vectors.set_priors(rows, None, MEAN)
    assert await stores.profiles.embedding("u0", MEAN) is None
    assert len((await stored(stores))[0].keys) == 5


async def test_a_vector_that_changed_meanwhile_keeps_its_prior(stores: Stores) -> None:
    await stores.vectors.put([vector()], None, MEAN)
    (rows,) = await stored(stores)
    await stores.vectors.put([vector(seed=8)], prior(2), MEAN)
    assert await stores.vectors.set_priors(rows, prior(3), MEAN) == 0
    assert near(await stores.profiles.embedding("mia", MEAN), half(2))


async def test_what_users_did_knows_no_prior(stores: Stores) -> None:
    covers = [cover("c1", "a", 1), cover("c2", "a", 2)]
    await stores.catalog.upsert_items([item("a")], covers)
    clicks = [event(f"e{n}", cover_id="c1", time=1e9 + n) for n in range(3)]
    dislike = event("d", cover_id="c2", action=Action.DISLIKE, time=1e9 - 1)
    await stores.vectors.put([vector(), vector("cold", 8)], prior(5, 6), MEAN)
    await stores.profiles.absorb([*clicks, dislike], MEAN)
    await stores.vectors.put([vector("new", 9)], None, MEAN)
    (rows,) = await stored(stores)
    behaviour = await stores.vectors.behaviour(rows.keys, MEAN)
    place = {tuple(row): n for n, row in enumerate(rows.vectors.tolist())}
    mia, cold, new = (place[tuple(unit(seed, 5).tolist())] for seed in (7, 8, 9))
    assert behaviour.counts[[mia, cold, new]].tolist() == [4, 0, 0]
    assert behaviour.stored[[mia, cold, new]].tolist() == [True, True, False]
    assert not behaviour.embeddings[[cold, new]].any()
    expected = MEAN([[*reversed(clicks), dislike]], {"c1": unit(1), "c2": unit(2)})[0]
    assert near(behaviour.embeddings[mia], expected)
    assert near(behaviour.liked[mia], unit(1)[None])
    assert len(behaviour.liked[cold]) == 0


async def test_behaviour_in_two_halves(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a")], [cover(f"c{n}", "a", n) for n in range(1, 4)])
    await stores.vectors.put([vector()], prior(5), MEAN)
    for n, (cover_id, action) in enumerate(
        (("c1", "LIKE"), ("c2", "CLICK"), ("c2", "CLICK"), ("c3", "DISLIKE"), ("c3", "LIKE"))
    ):
        one = event(f"e{n}", cover_id=cover_id, time=1e9 + n, action=Action[action])
        await stores.profiles.absorb([one, event(f"i{n}", time=1e9 + n, action=Action.IMPRESSION)], MEAN)
    (rows,) = await stored(stores)
    behaviour = await stores.vectors.behaviour(rows.keys, MEAN, halve=True)
    older = [
        event(f"e{n}", cover_id=id, action=action)
        for n, id, action in ((2, "c2", Action.CLICK), (1, "c2", Action.CLICK), (0, "c1", Action.LIKE))
    ]
    assert behaviour.counts.tolist() == [3]
    assert near(behaviour.embeddings[0], MEAN([older], {"c1": unit(1), "c2": unit(2)})[0])
    assert near(behaviour.liked[0], unit(3)[None]), "each new cover once, without the rejected and the known ones"


async def test_a_forgotten_user_has_no_vector_and_gets_none(stores: Stores) -> None:
    await stores.vectors.put([vector(), vector("noah", 8)], prior(2, 3), MEAN)
    (rows,) = await stored(stores)
    assert await stores.profiles.forget("mia")
    assert len((await stored(stores))[0].keys) == 1
    assert await stores.vectors.put([vector(), vector("noah", 8)], prior(2, 3), MEAN) == 1
    assert await stores.vectors.set_priors(rows, prior(4, 4), MEAN) == 1
    assert await stores.profiles.embedding("mia", MEAN) is None
    assert await stores.profiles.profile("mia") is None
    await stores.vectors.put([vector("liv", 9)], None, MEAN)
    assert await stores.profiles.forget("liv"), "a vector alone was stored"


async def test_removed_vectors_are_gone(stores: Stores) -> None:
    await stores.vectors.put([vector(), vector("noah", 8)], prior(2, 3), MEAN)
    for rows in await stored(stores):
        await stores.vectors.set_priors(rows, None, MEAN)
        await stores.vectors.remove(rows.keys)
    assert await stored(stores) == []
    assert await stores.profiles.embedding("mia", MEAN) is None


async def test_a_read_of_a_user_needs_no_vector(stores: Stores) -> None:
    await stores.vectors.put([vector()], prior(2), MEAN)
    for rows in await stored(stores):
        await stores.vectors.remove(rows.keys)
    assert near(await stores.profiles.embedding("mia", MEAN), half(2)), "the prior is in the profile's head"


async def test_vectors_and_events_at_once_lose_nothing(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a")], [cover("c1", "a", 1)])
    work = [stores.profiles.absorb([event(f"e{n}", cover_id="c1", time=1e9 + n)], MEAN) for n in range(8)]
    await asyncio.gather(*work, *(stores.vectors.put([vector()], prior(2), MEAN) for _ in range(4)))
    profile = await stores.profiles.profile("mia")
    assert profile is not None
    assert profile.event_count == 8
    assert near(await stores.profiles.embedding("mia", MEAN), both(8, unit(1), half(2)))
