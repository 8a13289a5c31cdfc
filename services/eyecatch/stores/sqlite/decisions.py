"""The DecisionLog port on SQLite. Decisions of forgotten users are not stored.

Each batch is one row of lines, which costs a quarter of a row for each decision. Finding a decision reads its row; forgetting a user
reads all rows.
"""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from functools import partial

from eyecatch.core.recommending.decisions import FIELD, from_line, id_and_user
from eyecatch.core.types import Decision
from eyecatch.stores.sqlite.connection import Database
from eyecatch.stores.sqlite.tombstones import forgotten

_BATCH = 1000


class SqliteDecisions:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, lines: Sequence[str]) -> None:
        for first in range(0, len(lines), _BATCH):
            await self._database.write(partial(_append, lines=lines[first : first + _BATCH]))

    async def decision(self, decision_id: str) -> Decision | None:
        sql = "SELECT lines FROM decision_segments WHERE first_id <= ? AND last_id >= ? ORDER BY seq"
        for (segment,) in self._database.read(sql, (decision_id, decision_id)):
            for line in segment.split("\n"):
                if line.startswith(decision_id + FIELD):
                    return from_line(line)
        return None

    async def scan(self) -> AsyncIterator[Decision]:
        last, known = -1, set[str]()
        sql = "SELECT seq, lines FROM decision_segments WHERE seq > ? ORDER BY seq LIMIT 1"
        while rows := self._database.read(sql, (last,)):
            ((last, segment),) = rows
            for line in segment.split("\n"):
                id = id_and_user(line)[0]
                if id not in known:  # a batch that was written again after a failure
                    known.add(id)
                    yield from_line(line)


def forget(connection: sqlite3.Connection, user_id: str) -> int:
    """Remove the user's decisions; returns how many."""
    sql = "SELECT seq, lines FROM decision_segments WHERE instr(lines, ?)"
    count = 0
    for seq, segment in connection.execute(sql, (f"{FIELD}{user_id}{FIELD}",)).fetchall():
        lines = segment.split("\n")
        others = [line for line in lines if id_and_user(line)[1] != user_id]
        count += len(lines) - len(others)
        connection.execute("DELETE FROM decision_segments WHERE seq = ?", (seq,))
        _insert(connection, others)
    return count


def _append(connection: sqlite3.Connection, lines: Sequence[str]) -> None:
    gone = forgotten(connection, {id_and_user(line)[1] for line in lines})
    _insert(connection, [line for line in lines if id_and_user(line)[1] not in gone] if gone else lines)


def _insert(connection: sqlite3.Connection, lines: Sequence[str]) -> None:
    if lines:
        ids = [id_and_user(line)[0] for line in lines]
        values = (min(ids), max(ids), "\n".join(lines))
        connection.execute("INSERT INTO decision_segments (first_id, last_id, lines) VALUES (?, ?, ?)", values)
