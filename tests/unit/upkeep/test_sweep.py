"""Encoder upgrades: a sweep rewrites every user, gives way to others, and ends when another encoder is rolled out."""

import asyncio

import pytest
from eyecatch.core.errors import Unavailable
from eyecatch.core.ports import Notes, ProfileStore
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.upkeep import sweep as module
from eyecatch.upkeep.sweep import SweepProgress, announce, is_announced, keep_current, sweep

from tests.contracts.builders import Each, event, unit

OLD, NEW = Each(lambda events: unit(1), 7), Each(lambda events: unit(2), 8)


async def fill(profiles: ProfileStore, users: int) -> None:
    await profiles.absorb([event(f"e{n}", f"u{n}") for n in range(users)], OLD)


async def versions(profiles: ProfileStore) -> dict[int, int]:
    result: dict[int, int] = {}
    async for heads in profiles.scan():
        for version in heads.encoders.tolist():
            result[version] = result.get(version, 0) + 1
    return result


async def test_every_user_is_encoded_anew_with_pauses(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    await fill(store.profiles, 95)
    await announce(store.notes, NEW)
    updates: list[SweepProgress] = []
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    assert await sweep(store.profiles, store.notes, NEW, updates.append, 0.25, sleep) == SweepProgress(95, 95)
    assert await versions(store.profiles) == {8: 95}
    assert [t.rewritten for t in updates] == [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 95]
    assert len(slept) == 10
    assert all(seconds > 0 for seconds in slept)
    assert await sweep(store.profiles, store.notes, NEW) == SweepProgress(95, 0)


async def test_a_sweep_cut_short_is_resumed(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    await fill(store.profiles, 50)
    await announce(store.notes, NEW)

    async def stop(seconds: float) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await sweep(store.profiles, store.notes, NEW, sleep=stop)
    assert await versions(store.profiles) == {7: 40, 8: 10}
    assert await sweep(store.profiles, store.notes, NEW) == SweepProgress(50, 40)


async def test_a_sweep_ends_when_another_encoder_is_announced(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So two versions side by side never rewrite each other's users in turns."""
    monkeypatch.setattr(module, "BATCH", 10)
    await fill(store.profiles, 50)
    await announce(store.notes, OLD)
    assert await sweep(store.profiles, store.notes, NEW) == SweepProgress(0, 0), "not announced, not swept"
    await announce(store.notes, NEW)

    async def another(seconds: float) -> None:
        await announce(store.notes, OLD)

    assert await sweep(store.profiles, store.notes, NEW, sleep=another) == SweepProgress(0, 10)
    assert not await is_announced(store.notes, NEW)
    assert await versions(store.profiles) == {7: 40, 8: 10}


class Away:
    """Notes of a store that is away for the first calls."""

    def __init__(self, notes: Notes, calls: int) -> None:
        self._notes, self.calls = notes, calls

    async def read(self, name: str) -> bytes | None:
        self.calls -= 1
        if self.calls >= 0:
            raise Unavailable("away")
        return await self._notes.read(name)

    async def replace(self, name: str, before: bytes | None, after: bytes) -> bool:
        return await self._notes.replace(name, before, after)


async def test_the_background_task_outlives_a_store_that_is_away(store: SqliteStore) -> None:
    await fill(store.profiles, 5)
    task = asyncio.ensure_future(keep_current(store.profiles, Away(store.notes, 3), NEW, 0.001))
    async with asyncio.timeout(10):
        while await versions(store.profiles) != {8: 5}:
            await asyncio.sleep(0)
        await store.profiles.absorb([event("later", "u0")], OLD)
        while await versions(store.profiles) != {8: 5}:  # the next round finds what others wrote meanwhile
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
