"""Trials over real stores: advancing by mode, counting the log once, and verdicts."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from eyecatch.core.types import Action, Cover, Standing, Trust
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.upkeep import trials
from eyecatch.upkeep.trials import Evidence, advance, judge

from tests.contracts.builders import cover, event, generated, item, nothing

TRIAL = Standing(Trust.ON_TRIAL)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore.open(tmp_path)
    yield store
    store.close()


async def put(store: SqliteStore, *covers: Cover) -> None:
    await store.catalog.upsert_items([item("a"), item("b")], covers)


async def show(store: SqliteStore, cover_id: str, users: range, clicks: int, day: int = 0) -> None:
    """Each user sees the cover, and the first `clicks` of them click."""
    events = []
    for n in users:
        more = {"user": f"u{n}", "cover_id": cover_id, "time": 1e9 + 86_400 * day + 60 * n}
        events.append(event(f"{cover_id}/i{n}/{day}", action=Action.IMPRESSION, **more))
        if n - users.start < clicks:
            events.append(event(f"{cover_id}/c{n}/{day}", **more))
    await store.profiles.absorb(events, nothing)


async def trust(store: SqliteStore, cover_id: str) -> Trust:
    result = await store.catalog.cover(cover_id)
    assert result is not None
    return result.standing.trust


async def test_covers_that_passed_the_gates_advance_with_the_mode(store: SqliteStore) -> None:
    passed, failed = Standing(Trust.CANDIDATE), Standing(Trust.CANDIDATE, ("blurred",))
    await put(store, generated("p", "a", ruling=passed), generated("f", "a", ruling=failed), generated("old", "b"))
    assert await advance(store.catalog, "review") == set()
    assert await advance(store.catalog, "trial") == {"a"}
    assert await advance(store.catalog, "trial") == set()
    assert [await trust(store, id) for id in ("p", "f", "old")] == [Trust.ON_TRIAL, Trust.CANDIDATE, Trust.CANDIDATE]
    assert await advance(store.catalog, "trusted") == {"a"}
    assert await trust(store, "p") is Trust.TRUSTED
    entries = (await store.catalog.audit(9)).rows
    assert [(e.by, e.action) for e in entries] == [("trial", "trusted"), ("trial", "on_trial")]


async def test_clicks_decide_for_better_and_for_worse(store: SqliteStore) -> None:
    await put(store, cover("o", "a"), generated("good", "a", ruling=TRIAL), generated("bad", "a", ruling=TRIAL))
    await show(store, "o", range(2000), 200)
    await show(store, "good", range(2000, 2400), 120)
    await show(store, "bad", range(3000, 3400), 4)
    assert await judge(store) == {"a"}
    assert await trust(store, "good") is Trust.TRUSTED
    retired = await store.catalog.cover("bad")
    assert retired is not None
    assert retired.standing.trust is Trust.RETIRED
    assert "click rate" in retired.standing.reasons[0]


async def test_a_trial_without_evidence_goes_on(store: SqliteStore) -> None:
    await put(store, cover("o", "a"), generated("t", "a", ruling=TRIAL))
    assert await judge(store) == set()
    await show(store, "t", range(99), 99)
    await show(store, "o", range(200, 400), 1)
    assert await judge(store) == set()
    assert await trust(store, "t") is Trust.ON_TRIAL


async def test_one_user_counts_once_a_round(store: SqliteStore) -> None:
    await put(store, cover("o", "a"), generated("t", "a", ruling=TRIAL))
    for day in range(150):
        await show(store, "t", range(1), 1, day)
    await show(store, "o", range(1000, 1300), 3)
    assert await judge(store) == set()
    evidence = Evidence.of(await store.notes.read(trials.NOTE))
    assert evidence.counts["t"] == (1, 1)
    assert evidence.counts["o"].impressions == 300


async def test_each_event_counts_once_over_rounds_and_processes(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "PAGE", 7)
    await put(store, cover("o", "a"), generated("t", "a", ruling=TRIAL), generated("else", "b"))
    await show(store, "t", range(50), 5)
    await show(store, "else", range(60, 70), 5)
    await asyncio.gather(*(judge(store) for _ in range(3)))
    await show(store, "t", range(50, 80), 5)
    await judge(store)
    await judge(store)
    evidence = Evidence.of(await store.notes.read(trials.NOTE))
    assert evidence.counts == {"t": (80, 10), "o": (0, 0)}, "covers of items without a trial are not counted"


async def test_an_editors_decision_stands_against_a_verdict(store: SqliteStore) -> None:
    await put(store, cover("o", "a"), generated("t", "a", ruling=Standing(Trust.RETIRED, ("ugly",))))
    await show(store, "o", range(500), 5)
    await show(store, "t", range(500, 1000), 400)
    assert await judge(store) == set()
    assert await trust(store, "t") is Trust.RETIRED
