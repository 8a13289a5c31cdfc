"""The ProfileStore port on SQLite. Events, embeddings and profiles change in one transaction."""

# ruff: noqa: S608 (only constants of this package are formatted into statements)

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from eyecatch.core.behaviour import priors
from eyecatch.core.behaviour.absorb import Absorption
from eyecatch.core.behaviour.bots import KEEP
from eyecatch.core.ports import Encoder
from eyecatch.core.types import (
    RECENT_EVENTS,
    Action,
    Behaviour,
    Event,
    Origin,
    Position,
    Profile,
    ProfileHeads,
    Vector,
    zeros,
)
from eyecatch.stores import profile_codec as codec
from eyecatch.stores.embedding_codec import unpack
from eyecatch.stores.profile_heads import heads, stale
from eyecatch.stores.recent_writes import RecentWrites
from eyecatch.stores.reencode_on_read import ReencodeOnRead
from eyecatch.stores.sqlite import decisions, rows, vector_rows
from eyecatch.stores.sqlite.cache import EmbeddingCache, UserCache
from eyecatch.stores.sqlite.connection import Database
from eyecatch.stores.sqlite.tombstones import bury, forgotten

T = TypeVar("T")

_RECENT = f"""SELECT {rows.EVENT_COLUMNS} FROM events WHERE user_id = ?
    ORDER BY time DESC, seq DESC LIMIT {RECENT_EVENTS}"""
# Impressions carry no taste, so they must not push engagements out of the encoder's input.
_ENGAGED = f"""SELECT {rows.EVENT_COLUMNS} FROM events
    WHERE user_id = ? AND action <> {Action.IMPRESSION:d} AND NOT suspect ORDER BY time DESC, seq DESC LIMIT {RECENT_EVENTS}"""
_ENGAGED_WITH = f"""SELECT DISTINCT user_id FROM events INDEXED BY engagements_by_item
    WHERE item_id = ? AND user_id > ? AND action <> {Action.IMPRESSION:d} AND NOT suspect ORDER BY user_id LIMIT ?"""
_HEAD = f"SELECT substr(profile, 1, {codec.HEAD_BYTES}) FROM profiles WHERE user_id = ?"
_HEADS = f"""SELECT user_id, substr(profile, 1, {codec.HEAD_BYTES}) FROM profiles WHERE user_id > ?
    ORDER BY user_id LIMIT ?"""
_PROFILE = "SELECT profile FROM profiles WHERE user_id = ?"
_INSERT = f"INSERT INTO events ({rows.EVENT_COLUMNS}, suspect) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_LOGGED = """SELECT e.user_id, e.event_id FROM json_each(?) AS arrival JOIN events AS e
    ON e.user_id = json_extract(arrival.value, '$[0]') AND e.event_id = json_extract(arrival.value, '$[1]')"""


@dataclass
class _User:
    """A stored profile that takes more events, and the engagements in the log that the encoder reads (None: not read yet)."""

    absorption: Absorption
    engaged: list[Event] | None = None

    def add(self, event: Event) -> None:
        """Add a new engagement in the order of `_ENGAGED`."""
        if self.engaged is not None:
            index = next((n for n, e in enumerate(self.engaged) if e.time <= event.time), len(self.engaged))
            self.engaged.insert(index, event)
            del self.engaged[RECENT_EVENTS:]


class SqliteProfiles:
    def __init__(self, database: Database, embeddings: EmbeddingCache) -> None:
        self._database = database
        self._embeddings = embeddings
        self._users, self._reencoding = UserCache(), ReencodeOnRead()
        self._recent: RecentWrites[_User] = RecentWrites()  # used on the writer's thread only
        database.on_rollback(self._recent.clear)
        self._version = 0  # of the embeddings in `_users`
        self._writes = 0

    async def embedding(self, user_id: str, encoder: Encoder) -> Vector | None:
        if encoder.version != self._version:
            self._users.clear()
            self._version = encoder.version
        embedding = self._users.get(user_id)
        if embedding is None:
            row = self._database.row(_HEAD, (user_id,))
            if row:
                version, embedding = codec.embedding(row[0])
                if version != encoder.version:
                    key = user_id, encoder.version, self._writes
                    return await self._reencoding.embedding(key, lambda: self._reencode_user(user_id, encoder))
                if embedding is not None:
                    self._users.put(user_id, embedding)
        return embedding

    async def _reencode_user(self, user_id: str, encoder: Encoder) -> Vector | None:
        """Cached, but not written: a recommendation must not wait for the disk."""
        writes = self._writes
        encoded = await self._database.run_reader(lambda c: _encode_users(c, [user_id], encoder, EmbeddingCache()))
        embedding = encoded[user_id]
        if not embedding.any():
            return None
        if writes == self._writes and encoder.version == self._version:
            self._users.put(user_id, embedding)
        return embedding

    async def profile(self, user_id: str) -> Profile | None:
        row = self._database.row(_PROFILE, (user_id,))
        if not row:
            return None
        recent = tuple(rows.event(row) for row in self._database.read(_RECENT, (user_id,)))
        return replace(codec.decode(user_id, row[0]), events=recent)

    async def absorb(self, events: Sequence[Event], encoder: Encoder, positions: Sequence[Position] = ()) -> int:
        """`encoder` runs in the writer's thread. The file has every event id."""
        per_event: Sequence[Position | None] = positions or [None] * len(events)
        arrivals = list(zip(events, per_event, strict=True))
        users = {event.user_id for event in events}
        return await asyncio.shield(self.write(users, lambda c: self._absorb(c, arrivals, encoder)))

    async def write(self, user_ids: set[str], run: Callable[[sqlite3.Connection], T]) -> T:
        """A write that changes these users. Callers shield it, because the cache must be updated even if they are cancelled."""
        self._writes += 1
        try:
            return await self._database.write(run)
        finally:
            self._writes += 1
            self._users.drop(user_ids)

    def _absorb(
        self,
        connection: sqlite3.Connection,
        arrivals: Sequence[tuple[Event, Position | None]],
        encoder: Encoder,
    ) -> int:
        users = {event.user_id for event, _ in arrivals}
        work = {user_id: known for user_id in users if (known := self._recent.take(user_id))}
        others = users - work.keys()
        # The log has the events, so that the row of the profile stays small for the fast path.
        work |= {id: _User(Absorption(_stored(connection, id), False)) for id in others - forgotten(connection, others)}
        ids = json.dumps([(event.user_id, event.id) for event, _ in arrivals])
        logged = set(connection.execute(_LOGGED, (ids,)).fetchall())
        log = []
        for event, position in arrivals:
            key = event.user_id, event.id
            if (user := work.get(event.user_id)) and user.absorption.add(event, position, key in logged):
                logged.add(key)
                suspect = user.absorption.weights[-1] < KEEP
                log.append((*rows.event_row(event), suspect))
                if not suspect and event.action is not Action.IMPRESSION:
                    user.add(event)
        connection.executemany(_INSERT, log)
        embeddings = self._encode_stale(connection, work, encoder)
        now = time.time()
        after = []
        for user_id, user in work.items():
            if user.absorption.changed:
                profile = user.absorption.profile(now, embeddings.get(user_id), encoder.version)
                after.append((user_id, codec.encode(profile)))
                user.absorption.rebase(profile)
            self._recent.put(user_id, user)
        connection.executemany("INSERT OR REPLACE INTO profiles (user_id, profile) VALUES (?, ?)", after)
        return len(log)

    def _encode_stale(
        self, connection: sqlite3.Connection, work: dict[str, _User], encoder: Encoder
    ) -> dict[str, Vector]:
        """User embeddings of users whose stored one is stale, in one call of the encoder."""
        stale = {user_id: user for user_id, user in work.items() if user.absorption.stale(encoder.version)}
        if not encoder.version:
            return dict.fromkeys(stale, zeros())
        for user_id, user in stale.items():
            if user.engaged is None:
                user.engaged = _engaged(connection, user_id)
        engaged = {user_id: user.engaged or [] for user_id, user in stale.items()}
        return _encode(connection, engaged, encoder, self._embeddings)

    async def forget(self, user_id: str) -> bool:
        def run(connection: sqlite3.Connection) -> bool:
            self._recent.take(user_id)
            bury(connection, user_id)
            tables = ("profiles", "events", "vectors")
            deleted = [connection.execute(f"DELETE FROM {t} WHERE user_id = ?", (user_id,)).rowcount for t in tables]
            return any([*deleted, decisions.forget(connection, user_id)])

        return await asyncio.shield(self.write({user_id}, run))

    async def events(self, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, Event]]:
        sql = f"SELECT seq, {rows.EVENT_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        return [(row[0], rows.event(row[1:])) for row in await self._database.scan(sql, (after, limit))]

    async def scan(self, batch: int = 1000) -> AsyncIterator[ProfileHeads]:
        last = ""
        while page := await self._database.scan(_HEADS, (last, batch)):
            last = page[-1][0]
            yield heads(dict(page))

    async def engaged(self, item_ids: Sequence[str], batch: int = 1000) -> AsyncIterator[Sequence[str]]:
        for item_id in item_ids:
            last = ""
            while page := await self._database.scan(_ENGAGED_WITH, (item_id, last, batch)):
                last = page[-1][0]
                yield [row[0] for row in page]

    async def reencode(self, keys: Sequence[str], encoder: Encoder, always: bool = False) -> int:
        def run(connection: sqlite3.Connection) -> int:
            for user_id in keys:
                self._recent.take(user_id)
            rows = {id: row[0] for id in keys if (row := connection.execute(_PROFILE, (id,)).fetchone())}
            profiles = {p.user_id: p for p in stale(rows, None if always else encoder.version)}
            after = [
                (codec.encode(replace(profiles[id], embedding=embedding, encoder=encoder.version)), id)
                for id, embedding in _encode_users(connection, list(profiles), encoder, self._embeddings).items()
            ]
            connection.executemany("UPDATE profiles SET profile = ? WHERE user_id = ?", after)
            return len(after)

        return await asyncio.shield(self.write(set(keys), run))

    def encode_again(self, connection: sqlite3.Connection, user_ids: Sequence[str], encoder: Encoder) -> None:
        """Encode these users, whose priors changed, inside a `write`. One without a profile gets one if there is a prior."""
        for user_id in user_ids:
            self._recent.take(user_id)
        after = []
        now = time.time()
        for id, embedding in _encode_users(connection, user_ids, encoder, self._embeddings).items():
            row = connection.execute(_PROFILE, (id,)).fetchone()
            if row or embedding.any():
                before = codec.decode(id, row[0]) if row else Profile(id, zeros(), updated_at=now)
                after.append((id, codec.encode(replace(before, embedding=embedding, encoder=encoder.version))))
        connection.executemany("INSERT OR REPLACE INTO profiles (user_id, profile) VALUES (?, ?)", after)

    async def behaviour(self, user_ids: Sequence[str], encoder: Encoder, halve: bool) -> Behaviour:
        """As UserVectors.behaviour."""

        def run(connection: sqlite3.Connection) -> Behaviour:
            users = [_engaged(connection, user_id) for user_id in user_ids]
            known = _cover_embeddings(connection, [event for events in users for event in events], EmbeddingCache())
            stored = [bool(connection.execute(_HEAD, (user_id,)).fetchone()) for user_id in user_ids]
            return priors.behaviour(users, known, encoder, stored, halve)

        return await self._database.run_reader(run)

    async def user_count(self) -> int:
        return int((await self._database.scan("SELECT count(*) FROM profiles"))[0][0])


def _stored(connection: sqlite3.Connection, user_id: str) -> Profile:
    row = connection.execute(_PROFILE, (user_id,)).fetchone()
    return codec.decode(user_id, row[0]) if row else Profile(user_id, zeros())


def _engaged(connection: sqlite3.Connection, user_id: str) -> list[Event]:
    return [rows.event(row) for row in connection.execute(_ENGAGED, (user_id,))]


def _encode_users(
    connection: sqlite3.Connection, user_ids: Sequence[str], encoder: Encoder, cache: EmbeddingCache
) -> dict[str, Vector]:
    """User embeddings from the events of these users in the log, in one call of the encoder."""
    return _encode(connection, {user_id: _engaged(connection, user_id) for user_id in user_ids}, encoder, cache)


def _encode(
    connection: sqlite3.Connection, engaged: dict[str, list[Event]], encoder: Encoder, cache: EmbeddingCache
) -> dict[str, Vector]:
    if not engaged:
        return {}
    users = list(engaged.values())
    known = _cover_embeddings(connection, [event for events in users for event in events], cache)
    embeddings = priors.encode(users, known, encoder, vector_rows.priors(connection, list(engaged), encoder.version))
    return dict(zip(engaged, embeddings, strict=True))


def _cover_embeddings(
    connection: sqlite3.Connection, events: Sequence[Event], cache: EmbeddingCache
) -> dict[str, Vector]:
    """By `Event.cover_key`: embeddings of covers, and of items (the mean of their catalogue covers)."""
    cache.make_room()
    known: dict[str, Vector] = {}
    for event in events:
        if event.cover_key in known:
            continue
        if event.cover_id:
            id, table = event.cover_id, cache.covers
        else:
            id, table = event.item_id, cache.items
        if id not in table:
            table[id] = _cover(connection, id) if event.cover_id else _catalogue_mean(connection, id)
        vector = table[id]
        if vector is not None:
            known[event.cover_key] = vector
    return known


def _cover(connection: sqlite3.Connection, cover_id: str) -> Vector | None:
    row = connection.execute("SELECT embedding FROM covers WHERE id = ?", (cover_id,)).fetchone()
    return unpack(row[0]) if row else None


def _catalogue_mean(connection: sqlite3.Connection, item_id: str) -> Vector | None:
    """The unit mean of the embeddings of the item's catalogue covers, or None if it has none."""
    sql = "SELECT embedding FROM covers WHERE item_id = ? AND origin = ?"
    covers = connection.execute(sql, (item_id, int(Origin.CATALOGUE))).fetchall()
    if not covers:
        return None
    mean: Vector = np.mean([unpack(row[0]) for row in covers], axis=0, dtype=np.float32)
    return mean / np.float32(max(float(np.linalg.norm(mean)), 1e-6))
