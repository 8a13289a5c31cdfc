"""Policies estimated from simulated decisions whose truth is known: users of a taste answer covers of their taste more often."""

from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.defaults import SCORING
from eyecatch.core.errors import InvalidInput
from eyecatch.core.recommending.decisions import to_line
from eyecatch.core.trust.standing import TRUSTED
from eyecatch.core.types import Action, Cover, Decision, Event, Item
from eyecatch.evaluate.policy import PolicyResult, policy
from eyecatch.stores.sqlite import SqliteStore

from tests.contracts.builders import MEAN
from tests.unit.evaluate.test_recall import near

TASTES, ITEMS, USERS, SHOWN = 3, 30, 120, 8
OWN, OTHER = 0.6, 0.15
"""How often a user answers a cover of the own taste, and one of another."""


async def world(folder: Path, propensity: float | None = None) -> SqliteStore:
    """Each item has a cover of each taste, and the log shows one of them at random: the best policy has OWN. SIMULATED."""
    rng = np.random.default_rng(11)
    store = SqliteStore.open(folder)
    covers = [
        Cover(f"c{n:02}-{t}", f"i{n:02}", f"blob:{n}-{t}", near(t, rng)) for n in range(ITEMS) for t in range(TASTES)
    ]
    await store.catalog.upsert_items([Item(f"i{n:02}", f"Item {n}") for n in range(ITEMS)], covers)
    events, lines = [], []
    for user in range(USERS):
        taste = user % TASTES
        for n in range(6):  # before any decision
            item = int(rng.integers(ITEMS))
            events.append(Event(f"e{user}/{n}", f"u{user}", f"i{item:02}", Action.LIKE, 1e9 + n, f"c{item:02}-{taste}"))
        for n in range(SHOWN):
            items = rng.choice(ITEMS, 3, replace=False)
            tastes = rng.integers(TASTES, size=3)
            id, time = f"d{user}/{n}", 2e9 + n
            shares = (propensity or 1 / TASTES,) * 3
            ids = tuple(f"i{i:02}" for i in items), tuple(f"c{i:02}-{t}" for i, t in zip(items, tastes, strict=True))
            lines.append(to_line(Decision(id, f"u{user}", time, *ids, shares)))
            for item, shown, t in zip(*ids, tastes, strict=True):
                if rng.random() < (OWN if t == taste else OTHER):
                    events.append(Event(f"{id}/{item}", f"u{user}", item, Action.CLICK, time + 1, shown, id))
    await store.profiles.absorb(events, MEAN)
    await store.decisions.append(lines)
    return store


async def run(store: SqliteStore, out: Path | None = None) -> PolicyResult:
    return await policy(store.catalog, store.profiles, store.decisions, MEAN, SCORING, TRUSTED, out=out)


async def test_each_policy_has_its_known_value_inside_its_interval(tmp_path: Path) -> None:
    store = await world(tmp_path)
    result = await run(store)
    anyone = (OWN + (TASTES - 1) * OTHER) / TASTES
    assert (result.rows, result.users) == (USERS * SHOWN * 3, USERS)
    assert result.answered.low < anyone < result.answered.high
    assert result.policies["uniform"].snips.mean == pytest.approx(result.answered.mean)
    own = result.policies["profile"]
    assert own.snips.low < OWN < own.snips.high
    assert own.ahead.low > 0.2
    assert own.weight == pytest.approx(1, abs=0.1)
    assert own.matched == pytest.approx(1 / TASTES, abs=0.05)
    assert own.effective < result.rows
    # The next user has the next taste.
    assert result.policies["shuffled"].snips.high < own.snips.low
    store.close()


async def test_wrong_propensities_show_in_the_mean_weight(tmp_path: Path) -> None:
    store = await world(tmp_path, propensity=0.9)
    result = await run(store)
    assert result.policies["profile"].weight == pytest.approx(1 / TASTES / 0.9, abs=0.05)
    store.close()


async def test_a_profile_knows_nothing_of_what_came_after_its_decision(tmp_path: Path) -> None:
    """Likes of another taste that follow all decisions change no figure."""
    store = await world(tmp_path)
    before = await run(store)
    later = [
        Event(f"later{u}/{n}", f"u{u}", "i00", Action.LIKE, 3e9 + n, "c00-0") for u in range(USERS) for n in range(9)
    ]
    await store.profiles.absorb(later, MEAN)
    assert (await run(store)).policies == before.policies
    store.close()


async def test_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    store = await world(tmp_path)
    odd = [
        Decision("x1", "u1", 2e9, ("nowhere",), ("c",), (0.5,)),
        Decision("x2", "u1", 2e9, ("i01",), ("gone",), (0.5,)),
        Decision("x3", "u1", 2e9, ("i01",), ("c01-1",), (0.0,)),
        Decision("x4", "", 2e9, ("i01",), ("c01-1",), (0.5,)),
        Decision("x5", "nobody", 2e9, ("i01",), ("c01-1",), (0.5,)),
    ]
    await store.decisions.append([to_line(decision) for decision in odd])
    await store.profiles.absorb([Event("x6", "u1", "i01", Action.CLICK, 2e9, "c01-1", "lost")], MEAN)
    result = await run(store)
    assert (
        result.counts.items()
        >= {
            "covers shown of items that are not in the catalogue any more": 1,
            "covers shown that not everybody sees any more": 1,
            "covers shown with a propensity outside of (0, 1]": 1,
            "answers to decisions that are not in the log, or left out": 1,
        }.items()
    )
    assert (result.rows, result.users) == (USERS * SHOWN * 3 + 2, USERS + 2)
    store.close()


async def test_without_decisions_there_is_nothing_to_measure(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    await store.catalog.upsert_items([Item("i", "Item")])
    with pytest.raises(InvalidInput, match="decisions of at least 2"):
        await run(store)
    store.close()


async def test_a_job_that_was_killed_goes_on_to_the_same_figures(tmp_path: Path) -> None:
    store = await world(tmp_path / "data")
    whole = await run(store, tmp_path / "out")
    for path in (tmp_path / "out" / "shards").rglob("*"):
        if path.is_file():
            path.unlink()
    assert (await run(store, tmp_path / "out")).as_dict() == whole.as_dict() == (await run(store)).as_dict()
    store.close()
