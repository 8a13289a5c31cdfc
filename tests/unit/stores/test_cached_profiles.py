"""The read cache before a profile store: how old, how many, and what its own writes do to it."""

import asyncio

import numpy as np
import pytest
from eyecatch.core.errors import Unavailable
from eyecatch.core.types import EMBEDDING_DIM, Action, Event, Vector
from eyecatch.stores.cached_profiles import CachedProfiles

from tests.contracts.builders import MEAN, Each


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Store:
    """A profile store whose every read gives another vector: the number of the read."""

    def __init__(self) -> None:
        self.reads = 0
        self.nobody: set[str] = set()
        self.away = False
        self.held: asyncio.Event | None = None

    async def embedding(self, user_id: str, encoder: object) -> Vector | None:
        if self.away:
            raise Unavailable("away")
        self.reads += 1
        number = self.reads
        if self.held:
            await self.held.wait()
        return None if user_id in self.nobody else numbered(number)

    async def absorb(self, events: object, encoder: object, positions: object = ()) -> int:
        if self.away:
            raise Unavailable("away")
        return 1

    async def forget(self, user_id: str) -> bool:
        return True


def numbered(number: int) -> Vector:
    return np.full(EMBEDDING_DIM, number, np.float32)


def cached(store: Store, clock: Clock, **more: float) -> CachedProfiles:
    return CachedProfiles(store, clock=clock, **more)  # type: ignore[arg-type]


async def number(cache: CachedProfiles, user: str) -> int:
    result = await cache.embedding(user, MEAN)
    assert result is not None
    return int(result[0])


async def test_an_answer_is_never_older_than_the_bound() -> None:
    store, clock = Store(), Clock()
    cache = cached(store, clock, max_age_s=0.2)
    assert await number(cache, "mia") == 1
    clock.now += 0.199
    assert await number(cache, "mia") == 1
    clock.now += 0.002
    assert await number(cache, "mia") == 2
    clock.now += 0.15
    assert await number(cache, "mia") == 2, "a hit does not make an entry younger"
    clock.now += 0.06
    assert await number(cache, "mia") == 3
    assert (cache.hits, cache.misses) == (2, 3)


async def test_the_age_counts_from_before_the_read() -> None:
    store, clock = Store(), Clock()
    cache = cached(store, clock, max_age_s=0.2)
    store.held = asyncio.Event()
    reading = asyncio.ensure_future(number(cache, "mia"))
    await asyncio.sleep(0)
    clock.now += 0.3  # the store was slow
    store.held.set()
    assert await reading == 1
    assert await number(cache, "mia") == 2


async def test_who_has_no_profile_is_remembered_too() -> None:
    store, clock = Store(), Clock()
    cache = cached(store, clock)
    store.nobody.add("mia")
    assert await cache.embedding("mia", MEAN) is None
    assert await cache.embedding("mia", MEAN) is None
    assert store.reads == 1


async def test_our_own_writes_are_seen_at_once() -> None:
    store, clock = Store(), Clock()
    cache = cached(store, clock)
    assert (await number(cache, "mia"), await number(cache, "noah")) == (1, 2)
    await cache.absorb([Event("e", "mia", "a", Action.CLICK, 1.0)], MEAN)
    assert (await number(cache, "mia"), await number(cache, "noah")) == (3, 2)
    await cache.forget("noah")
    assert await number(cache, "noah") == 4
    store.away = True
    with pytest.raises(Unavailable):
        await cache.absorb([Event("e", "mia", "a", Action.CLICK, 1.0)], MEAN)
    store.away = False
    assert await number(cache, "mia") == 5, "a write that failed may have written"


async def test_a_read_that_began_before_a_write_is_not_kept() -> None:
    store, clock = Store(), Clock()
    cache = cached(store, clock)
    store.held = asyncio.Event()
    reading = asyncio.ensure_future(number(cache, "mia"))
    await asyncio.sleep(0)
    await cache.absorb([Event("e", "mia", "a", Action.CLICK, 1.0)], MEAN)
    store.held.set()
    assert await reading == 1
    assert await number(cache, "mia") == 2


async def test_it_never_holds_more_than_its_capacity_and_lets_the_oldest_go() -> None:
    store, clock = Store(), Clock()
    cache = cached(store, clock, capacity=3)
    for user in "abcde":
        await number(cache, user)
        assert len(cache) <= 3
    reads = store.reads
    await number(cache, "e")
    assert store.reads == reads
    await number(cache, "a")
    assert store.reads == reads + 1


async def test_old_entries_leave_although_nobody_asks_for_them() -> None:
    store, clock = Store(), Clock()
    cache = cached(store, clock)
    for n in range(100):
        await number(cache, f"old-{n}")
    clock.now += 1.0
    for n in range(60):
        await number(cache, f"new-{n}")
    assert len(cache) == 60, "two old ones leave with each read"


async def test_a_failure_is_not_remembered() -> None:
    store, clock = Store(), Clock()
    cache = cached(store, clock)
    store.away = True
    with pytest.raises(Unavailable):
        await cache.embedding("mia", MEAN)
    store.away = False
    assert await number(cache, "mia") == 1


async def test_what_one_encoder_made_is_not_remembered_for_another() -> None:
    store = Store()
    cache = cached(store, Clock())
    reads = []
    for version in (1, 1, 2, 2, 1):
        await cache.embedding("mia", Each(version=version))
        reads.append(store.reads)
    assert reads == [1, 1, 2, 2, 3]
