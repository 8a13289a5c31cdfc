"""Recall on behaviour made for the purpose: users with a taste are found out, users without one are not."""

import json
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import Action, Cover, Event, Item, Vector
from eyecatch.evaluate.recall import recall
from eyecatch.stores.sqlite import SqliteStore

from tests.contracts.builders import MEAN

TASTES, ITEMS, USERS, EVENTS = 4, 200, 40, 30


def near(taste: int, rng: np.random.Generator) -> Vector:
    vector = 0.08 * rng.standard_normal(64).astype(np.float32)
    vector[taste] += 1.0
    return vector / np.float32(np.linalg.norm(vector))


async def world(folder: Path, loyal: bool) -> SqliteStore:
    """Item n has covers of taste n % TASTES; user n engages with items of that taste, or with any if not `loyal`."""
    rng = np.random.default_rng(5)
    store = SqliteStore.open(folder)
    items = [Item(f"i{n:03}", f"Item {n}") for n in range(ITEMS)]
    covers = [
        Cover(f"c{n:03}-{k}", f"i{n:03}", f"blob:{n}-{k}", near(n % TASTES, rng))
        for n in range(ITEMS)
        for k in range(2)
    ]
    await store.catalog.upsert_items(items, covers)
    events = []
    for user in range(USERS):
        pool = np.arange(user % TASTES, ITEMS, TASTES) if loyal else np.arange(ITEMS)
        for n, item in enumerate(rng.permutation(pool)[:EVENTS]):
            shown = f"c{item:03}-1" if n % 2 else ""
            events.append(Event(f"{user}/{n}", f"u{user}", f"i{item:03}", Action.CLICK, 1e9 + n, shown))
    await store.profiles.absorb(events, MEAN)
    return store


async def test_users_with_a_taste_are_found_out(tmp_path: Path) -> None:
    store = await world(tmp_path, loyal=True)
    result = await recall(store.catalog, store.profiles, ks=(5, 20), seed=1)
    assert (result.users, result.items, result.held_out) == (USERS, ITEMS, 5 * USERS)
    # 50 items of one's taste less 25 seen: the first 20 unseen ones hold four fifths of the hidden.
    profile, shuffled = result.recall["profile"], result.recall["shuffled"]
    assert profile[20].mean > 0.7
    assert profile[20].low > shuffled[20].high
    assert profile[20].low > result.recall["random"][20].high
    assert profile[5].mean < profile[20].mean
    assert all(i.low <= i.mean <= i.high for ranking in result.recall.values() for i in ranking.values())
    # 175 items unseen: 20 of them at random.
    assert result.recall["random"][20].mean == pytest.approx(20 / 175, abs=0.07)
    store.close()


async def test_users_without_one_are_not(tmp_path: Path) -> None:
    store = await world(tmp_path, loyal=False)
    result = await recall(store.catalog, store.profiles, ks=(20,), seed=1)
    profile, shuffled = result.recall["profile"][20], result.recall["shuffled"][20]
    assert profile.low <= shuffled.high
    assert shuffled.low <= profile.high
    assert profile.mean < 0.25
    store.close()


async def test_the_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    store = await world(tmp_path, loyal=True)
    one, two = [(await recall(store.catalog, store.profiles, seed=3)).as_dict() for _ in range(2)]
    assert json.dumps(one) == json.dumps(two)
    store.close()


async def test_hidden_items_teach_nothing(tmp_path: Path) -> None:
    """An early glance at an item that is hidden later must not stand in the past, nor count as popularity."""
    store = await world(tmp_path, loyal=True)
    before = await recall(store.catalog, store.profiles, ks=(20,), seed=1)
    last = [e for _, e in await store.profiles.events(limit=10_000) if e.id.endswith(f"/{EVENTS - 1}")]
    early = [Event(f"early/{e.id}", e.user_id, e.item_id, Action.CLICK, 1e9 - 5) for e in last]
    await store.profiles.absorb(early, MEAN)
    after = await recall(store.catalog, store.profiles, ks=(20,), seed=1)
    assert after.recall["profile"] == before.recall["profile"]
    assert after.recall["popularity"] == before.recall["popularity"]
    store.close()


async def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    with pytest.raises(InvalidInput, match="at least 2"):
        await recall(store.catalog, store.profiles)
    with pytest.raises(InvalidInput, match="leave_out"):
        await recall(store.catalog, store.profiles, leave_out=10, min_events=10)
    store.close()
