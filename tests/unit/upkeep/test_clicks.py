"""The reward `clicks`: counted once, own evidence over borrowed one, and what borrowing is worth on simulated clicks."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.errors import Unavailable
from eyecatch.core.trust.evidence import Counts
from eyecatch.core.types import Action
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.upkeep import clicks
from eyecatch.upkeep.clicks import count, keep_learning, learn, values
from structlog.testing import capture_logs

from tests.contracts.builders import cover, event, item, nothing

LOOKS, D = 30, 64


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


class Shop:
    """Items of three covers, each of one of LOOKS looks that multiply the item's click rate. SIMULATED. The last 100 items are new."""

    def __init__(self, seed: int, old: int = 300, new: int = 100) -> None:
        rng = np.random.default_rng(seed)
        count = 3 * (old + new)
        lift = np.exp(rng.normal(0, 0.4, LOOKS))
        look = rng.integers(LOOKS, size=count)
        centres = rng.standard_normal((LOOKS, D))
        self.ids = [f"c{n}" for n in range(count)]
        self.items = [f"i{n // 3}" for n in range(count)]
        self.rows = unit(centres[look] + rng.normal(0, 0.5, (count, D)))
        self.lift = lift[look]
        rate = rng.uniform(0.01, 0.08, old + new).repeat(3) * self.lift
        views = rng.poisson(600, 3 * old)
        self.counts = {
            self.ids[n]: Counts(int(views[n]), int(rng.binomial(views[n], min(1.0, rate[n])))) for n in range(3 * old)
        }
        self.new = range(3 * old, count)

    def right(self, reward: Mapping[str, float]) -> float:
        """Of pairs of a new item's covers whose lifts differ: how often the reward prefers the better one; ties count half."""
        wins = []
        for first in self.new[::3]:
            for a, b in ((0, 1), (0, 2), (1, 2)):
                better, worse = sorted((first + a, first + b), key=lambda n: -self.lift[n])
                if self.lift[better] > self.lift[worse]:
                    gap = reward[self.ids[better]] - reward[self.ids[worse]]
                    wins.append(0.5 if abs(gap) < 1e-9 else float(gap > 0))
        return float(np.mean(wins))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_new_covers_are_ranked_by_what_near_covers_show(seed: int) -> None:
    shop = Shop(seed)
    borrowed = shop.right(values(shop.ids, shop.items, shop.rows, shop.counts))
    shuffled = np.random.default_rng(seed).permutation(shop.rows)
    control = shop.right(values(shop.ids, shop.items, shuffled, shop.counts))
    nothing_known = shop.right(values(shop.ids, shop.items, shop.rows, {}))
    assert borrowed > 0.85
    assert abs(control - 0.5) < 0.15
    assert nothing_known == 0.5


def test_own_clicks_overrule_what_is_borrowed() -> None:
    shop = Shop(3)
    before = values(shop.ids, shop.items, shop.rows, shop.counts)
    best = max(shop.new, key=lambda n: before[shop.ids[n]])
    id, sisters = shop.ids[best], [shop.ids[n] for n in shop.new if shop.items[n] == shop.items[best]]
    assert before[id] > 0.1
    little = {**shop.counts, **dict.fromkeys(sisters, Counts(100, 4)), id: Counts(100, 1)}
    much = {**shop.counts, **dict.fromkeys(sisters, Counts(5000, 200)), id: Counts(5000, 50)}
    some, all_known = (values(shop.ids, shop.items, shop.rows, counts)[id] for counts in (little, much))
    assert before[id] > some > all_known
    assert all_known < -0.5


def test_a_popular_item_lends_nothing_to_its_looks() -> None:
    """Two items of equal covers, one clicked ten times as often; a new cover near the popular one."""
    rows = unit(np.random.default_rng(0).standard_normal((5, D)))
    rows[4] = rows[0]
    counts = {"a0": Counts(1000, 200), "a1": Counts(1000, 200), "b0": Counts(1000, 20), "b1": Counts(1000, 20)}
    reward = values(["a0", "a1", "b0", "b1", "new"], ["a", "a", "b", "b", "n"], rows, counts)
    assert all(abs(value) < 0.1 for value in reward.values())


def test_covers_of_the_same_item_do_not_lend() -> None:
    rows = unit(np.random.default_rng(0).standard_normal((3, D)))
    rows[2] = rows[0]
    counts = {"a0": Counts(1000, 90), "a1": Counts(1000, 10)}
    reward = values(["a0", "a1", "new"], ["a", "a", "a"], rows, counts)
    assert reward["a0"] > 0.2
    assert reward["new"] == pytest.approx(0.0)


def test_no_covers_and_no_clicks_are_no_trouble() -> None:
    assert values([], [], np.zeros((0, 1), np.float32), {}) == {}
    rows = unit(np.random.default_rng(0).standard_normal((2, D)))
    assert values(["a", "b"], ["x", "y"], rows, {"gone": Counts(9, 9)}) == {"a": 0.0, "b": 0.0}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore.open(tmp_path)
    yield store
    store.close()


async def show(store: SqliteStore, cover_id: str, item_id: str, users: range, clicked: int) -> None:
    events = []
    for n in users:
        more = {"user": f"u{n}", "item_id": item_id, "cover_id": cover_id, "time": 1e9 + n}
        events.append(event(f"{cover_id}/i{n}", action=Action.IMPRESSION, **more))
        if n - users.start < clicked:
            events.append(event(f"{cover_id}/c{n}", **more))
    await store.profiles.absorb(events, nothing)


async def test_events_of_all_covers_count_once_over_rounds(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clicks, "PAGE", 7)
    await store.catalog.upsert_items([item("a")], [cover("x", "a"), cover("y", "a", 2)])
    await show(store, "x", "a", range(40), 5)
    await asyncio.gather(*(count(store) for _ in range(3)))
    await store.profiles.absorb([event("no-cover", user="u1")], nothing)
    await show(store, "y", "a", range(10), 1)
    assert await count(store) == {"x": (40, 5), "y": (10, 1)}
    assert await count(store) == {"x": (40, 5), "y": (10, 1)}


async def test_items_whose_covers_changed_are_named(store: SqliteStore) -> None:
    await store.catalog.upsert_items(
        [item("a"), item("b"), item("quiet")],
        [cover("x", "a", 1), cover("y", "a", 2), cover("near x", "b", 1), cover("z", "b", 9), cover("q", "quiet", 5)],
    )
    used: list[tuple[Mapping[str, float], Sequence[str]]] = []
    task = asyncio.create_task(keep_learning(store, 0.01, lambda *all: used.append(all)))
    await asyncio.sleep(0.1)
    assert used[-1][1] == []
    await show(store, "x", "a", range(200), 60)
    await show(store, "y", "a", range(200, 400), 5)
    for _ in range(200):
        await asyncio.sleep(0.02)
        if any(changed for _, changed in used):
            break
    task.cancel()
    rewards, changed = next(all for all in used if all[1])
    assert {"a", "b"} <= set(changed)
    assert rewards["x"] > rewards["near x"] > 0.1 > -0.1 > rewards["y"]
    assert await learn(store)


async def test_a_store_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch, store: SqliteStore) -> None:
    async def fail(stores: object) -> dict[str, Counts]:
        raise Unavailable("the store does not answer")

    monkeypatch.setattr(clicks, "count", fail)
    with capture_logs() as logs:
        task = asyncio.create_task(keep_learning(store, 0.01, lambda *_: None))
        await asyncio.sleep(0.2)
        task.cancel()
    assert len(logs) > 1
    assert logs[0]["event"] == "clicks_not_learned"
