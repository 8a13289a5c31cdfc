"""Behaviour as Parquet: events and decisions, with the position and the propensity of what was shown. Knows no store.

The tables have the columns that `icg space fit` and the recipes read, and what offline evaluation needs besides. Decisions of forgotten
users are gone from the state, and so from the tables.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl

from eyecatch.core.ports import DecisionLog, ProfileStore
from eyecatch.core.types import Action, Event
from eyecatch.exporting.files import write

EVENTS, DECISIONS = "events.parquet", "decisions.parquet"
CHUNK = 20_000
"""Rows that wait as Python objects."""
EVENT = {
    "user_id": pl.String,
    "item_id": pl.String,
    "action": pl.String,
    "timestamp": pl.Float64,
    "cover_id": pl.String,
}
EVENT |= {"dwell_ms": pl.Int64, "decision_id": pl.String, "position": pl.Int32, "propensity": pl.Float32}
DECISION = {"decision_id": pl.String, "user_id": pl.String, "timestamp": pl.Float64, "position": pl.Int32}
DECISION |= {"item_id": pl.String, "cover_id": pl.String, "propensity": pl.Float32}


async def export_behaviour(
    profiles: ProfileStore, decisions: DecisionLog, out: Path, on_progress: Callable[[int], None] = lambda done: None
) -> dict[str, int]:
    """Write EVENTS and DECISIONS to the folder `out`; returns their numbers of rows. A file is written whole or not at all.

    position counts from 0; it and the propensity are null where no decision is known. Times are seconds since 1970.
    """
    out.mkdir(parents=True, exist_ok=True)
    shown = await _table(_decision_rows(decisions), DECISION)
    plain = {name: kind for name, kind in EVENT.items() if name not in ("position", "propensity")}
    events = await _table(_event_rows(profiles, on_progress), plain)
    # One item may stand in a decision once only, so a row of events stays one row.
    where = shown.select("decision_id", "item_id", "position", "propensity").unique(["decision_id", "item_id"])
    joined = events.join(where, on=["decision_id", "item_id"], how="left", maintain_order="left").select(list(EVENT))
    for name, table in ((EVENTS, joined), (DECISIONS, shown)):
        write(table, out / name)
    return {"events": len(joined), "decisions": shown["decision_id"].n_unique()}


async def _event_rows(
    profiles: ProfileStore, on_progress: Callable[[int], None]
) -> AsyncIterator[list[tuple[Any, ...]]]:
    after, done = 0, 0
    while batch := await profiles.events(after, 1000):
        yield [_event_row(event) for _, event in batch]
        after, done = batch[-1][0], done + len(batch)
        on_progress(done)


def _event_row(event: Event) -> tuple[Any, ...]:
    action = Action(event.action).name.lower()
    return (
        event.user_id,
        event.item_id,
        action,
        event.time,
        event.cover_id,
        event.dwell_ms,
        event.decision_id,
    )


async def _decision_rows(decisions: DecisionLog) -> AsyncIterator[list[tuple[Any, ...]]]:
    async for d in decisions.scan():
        columns = zip(d.item_ids, d.cover_ids, d.propensities, strict=True)
        yield [(d.id, d.user_id, d.time, n, item, cover, share) for n, (item, cover, share) in enumerate(columns)]


async def _table(batches: AsyncIterator[list[tuple[Any, ...]]], schema: dict[str, Any]) -> pl.DataFrame:
    """The rows of all batches, which wait as objects CHUNK at a time only."""
    parts, rows = [pl.DataFrame(schema=schema)], list[tuple[Any, ...]]()
    async for batch in batches:
        rows += batch
        if len(rows) >= CHUNK:
            parts.append(_frame(rows, schema))
            rows = []
    return pl.concat([*parts, _frame(rows, schema)])


def _frame(rows: Iterable[tuple[Any, ...]], schema: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=schema, orient="row")
