"""Users in SQLite: the ProfileStore port. Events, embeddings and profiles change in one transaction."""

# ruff: noqa: S608 (only constants of this package are formatted into statements)

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from eyecatch.core.ports import Encoder
from eyecatch.core.types import RECENT_EVENTS, Action, Event, Origin, Profile, Vector
from eyecatch.stores.sqlite import decisions, rows
from eyecatch.stores.sqlite.cache import EmbeddingCache, UserCache
from eyecatch.stores.sqlite.connection import Database
from eyecatch.stores.sqlite.tombstones import forgotten, user_digest

T = TypeVar("T")

_RECENT = f"""SELECT {rows.EVENT_COLUMNS} FROM events WHERE user_id = ?
    ORDER BY time DESC, seq DESC LIMIT {RECENT_EVENTS}"""
# Impressions say nothing of taste: they must not push the engagements out of what is encoded.
_ENGAGED = f"""SELECT {rows.EVENT_COLUMNS} FROM events WHERE user_id = ? AND action <> {Action.IMPRESSION:d}
    ORDER BY time DESC, seq DESC LIMIT {RECENT_EVENTS}"""
_INSERT = f"INSERT INTO events ({rows.EVENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_UPSERT = """INSERT INTO profiles (user_id, embedding, event_count, updated_at) VALUES (?, ?, ?, ?)
    ON CONFLICT (user_id) DO UPDATE SET embedding = excluded.embedding, updated_at = excluded.updated_at,
    event_count = event_count + excluded.event_count"""


class SqliteProfiles:
    def __init__(self, database: Database, embeddings: EmbeddingCache) -> None:
        self._database = database
        self._embeddings = embeddings
        self._users = UserCache()

    async def embedding(self, user_id: str) -> Vector | None:
        embedding = self._users.get(user_id)
        if embedding is None:
            found = self._database.read("SELECT embedding FROM profiles WHERE user_id = ?", (user_id,))
            if found and any(found[0][0]):
                embedding = rows.unpack(found[0][0])
                self._users.put(user_id, embedding)
        return embedding

    async def profile(self, user_id: str) -> Profile | None:
        sql = "SELECT embedding, event_count, updated_at FROM profiles WHERE user_id = ?"
        for embedding, event_count, updated_at in self._database.read(sql, (user_id,)):
            recent = tuple(rows.event(row) for row in self._database.read(_RECENT, (user_id,)))
            return Profile(user_id, rows.unpack(embedding), event_count, updated_at, events=recent)
        return None

    async def absorb(self, events: Sequence[Event], encode: Encoder) -> int:
        """`encode` runs in the writer's thread."""
        return await asyncio.shield(self._write({e.user_id for e in events}, lambda c: self._absorb(c, events, encode)))

    async def _write(self, user_ids: set[str], run: Callable[[sqlite3.Connection], T]) -> T:
        """A write that changes these users. Shielded by callers: if they go away the cache must still hear of the commit."""
        try:
            return await self._database.write(run)
        finally:
            self._users.drop(user_ids)

    def _absorb(self, connection: sqlite3.Connection, events: Sequence[Event], encode: Encoder) -> int:
        gone = forgotten(connection, {event.user_id for event in events})
        sql = "SELECT event_id FROM events WHERE event_id IN (SELECT value FROM json_each(?))"
        seen = {row[0] for row in connection.execute(sql, (json.dumps([event.id for event in events]),))}
        new: dict[str, Event] = {}
        for event in events:
            if event.id not in seen and event.user_id not in gone:
                new.setdefault(event.id, event)
        connection.executemany(_INSERT, [rows.event_row(event) for event in new.values()])
        now = time.time()
        for user_id, count in Counter(event.user_id for event in new.values()).items():
            recent = [rows.event(row) for row in connection.execute(_ENGAGED, (user_id,))]
            embedding = rows.pack(encode(recent, self._known(connection, recent)))
            connection.execute(_UPSERT, (user_id, embedding, count, now))
        return len(new)

    def _known(self, connection: sqlite3.Connection, events: Sequence[Event]) -> dict[str, Vector]:
        """Embeddings by cover id, and by item id (the mean of its catalogue covers) for events without one."""
        cache = self._embeddings
        cache.make_room()
        known: dict[str, Vector] = {}
        for event in events:
            if event.cover_id:
                id, table = event.cover_id, cache.covers
            else:
                id, table = event.item_id, cache.items
            if id in known:
                continue
            if id not in table:
                table[id] = _cover(connection, id) if event.cover_id else _catalogue_mean(connection, id)
            vector = table[id]
            if vector is not None:
                known[id] = vector
        return known

    async def forget(self, user_id: str) -> bool:
        def run(connection: sqlite3.Connection) -> bool:
            connection.execute("INSERT OR IGNORE INTO tombstones VALUES (?)", (user_digest(user_id),))
            tables = ("profiles", "events")
            deleted = [connection.execute(f"DELETE FROM {t} WHERE user_id = ?", (user_id,)).rowcount for t in tables]
            return any([*deleted, decisions.forget(connection, user_id)])

        return await asyncio.shield(self._write({user_id}, run))

    async def events(self, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, Event]]:
        sql = f"SELECT seq, {rows.EVENT_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        return [(row[0], rows.event(row[1:])) for row in await self._database.scan(sql, (after, limit))]

    async def user_count(self) -> int:
        return int((await self._database.scan("SELECT count(*) FROM profiles"))[0][0])


def _cover(connection: sqlite3.Connection, cover_id: str) -> Vector | None:
    found = connection.execute("SELECT embedding FROM covers WHERE id = ?", (cover_id,)).fetchone()
    return rows.unpack(found[0]) if found else None


def _catalogue_mean(connection: sqlite3.Connection, item_id: str) -> Vector | None:
    """The unit mean of the embeddings of the item's own covers, or None without any."""
    sql = "SELECT embedding FROM covers WHERE item_id = ? AND origin = ?"
    found = connection.execute(sql, (item_id, int(Origin.CATALOGUE))).fetchall()
    if not found:
        return None
    mean: Vector = np.mean([rows.unpack(row[0]) for row in found], axis=0, dtype=np.float32)
    return mean / np.float32(max(float(np.linalg.norm(mean)), 1e-6))
