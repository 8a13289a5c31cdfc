"""Answered recommendations in SQLite: the DecisionLog port. A forgotten user's decisions are not kept.

There is no index by user: ids grow with time, so rows are appended, while an index by user would touch a page a row.
"""

# ruff: noqa: S608 (only constants of this module are formatted into statements)

import sqlite3
from array import array
from collections.abc import Sequence
from functools import partial

from eyecatch.core.types import Decision
from eyecatch.stores.sqlite.connection import Database
from eyecatch.stores.sqlite.profiles import forgotten

_COLUMNS = "id, user_id, time, item_ids, cover_ids, propensities"
_BATCH = 1000


class SqliteDecisions:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, decisions: Sequence[Decision]) -> None:
        for first in range(0, len(decisions), _BATCH):
            batch = decisions[first : first + _BATCH]
            await self._database.write(partial(_append, decisions=batch))

    async def decision(self, decision_id: str) -> Decision | None:
        sql = f"SELECT {_COLUMNS} FROM decisions WHERE id = ?"
        for id, user_id, time, items, covers, propensities in self._database.read(sql, (decision_id,)):
            numbers = tuple(array("f", propensities))
            return Decision(id, user_id, time, _split(items), _split(covers), numbers)
        return None


def _append(connection: sqlite3.Connection, decisions: Sequence[Decision]) -> None:
    gone = forgotten(connection, {d.user_id for d in decisions})
    values: list[object] = []
    for d in decisions:
        if d.user_id not in gone:
            numbers = array("f", d.propensities).tobytes()
            values += (d.id, d.user_id, d.time, "\n".join(d.item_ids), "\n".join(d.cover_ids), numbers)
    # One statement for the batch: sqlite3 gives the interpreter lock away at every row of an executemany and gets it
    # back only behind the thread that answers requests.
    rows = ", ".join(["(?, ?, ?, ?, ?, ?)"] * (len(values) // 6))
    if rows:
        connection.execute(f"INSERT OR IGNORE INTO decisions ({_COLUMNS}) VALUES {rows}", values)


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split("\n")) if text else ()
