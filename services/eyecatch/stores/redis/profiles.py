"""The ProfileStore port on Redis. A profile is one key, which is replaced only if no other process has replaced it.

`absorb` writes names, then the log, then profiles. If it is interrupted, repeating it is safe: a profile recognises known events.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from cachetools import LRUCache

from eyecatch.core.behaviour import priors
from eyecatch.core.behaviour.absorb import Absorption
from eyecatch.core.errors import StoreError, Unavailable
from eyecatch.core.ports import Encoder
from eyecatch.core.types import Behaviour, Event, Position, Profile, ProfileHeads, Vector, zeros
from eyecatch.stores import profile_codec as codec
from eyecatch.stores.profile_heads import heads, stale
from eyecatch.stores.recent_writes import RecentWrites
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.decisions import RedisDecisions
from eyecatch.stores.redis.embeddings import CatalogEmbeddings
from eyecatch.stores.redis.link import WAIT, Link
from eyecatch.stores.redis.log import EventLog
from eyecatch.stores.redis.names import References
from eyecatch.stores.redis.tombstones import TOMBSTONE
from eyecatch.stores.redis.vector_heads import VectorHeads
from eyecatch.stores.reencode_on_read import ReencodeOnRead

# Conflicts need two processes with events of one user at the same time: rare, and usually over in one round.
ATTEMPTS = 16
# At most so many re-encoded users are cached (0.5 KB each).
REENCODED = 100_000

# The second line answers a repeated write whose first answer was lost.
_REPLACE = """
local now = redis.call('GET', KEYS[1]) or ''
if now == ARGV[2] then return 1 end
if now ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

Arrivals = Sequence[tuple[Event, Position | None]]


class Stored(NamedTuple):
    """A profile: its bytes in Redis (empty: none), and the Absorption that adds events to it."""

    data: bytes
    absorption: Absorption


class RedisProfiles:
    def __init__(self, link: Link, embeddings: CatalogEmbeddings, log: EventLog, decisions: RedisDecisions) -> None:
        self._link, self._embeddings, self._log, self._decisions = link, embeddings, log, decisions
        self._references, self.heads = References(link), VectorHeads(link)
        self._turn = asyncio.Lock()
        self._recent: RecentWrites[Stored] = RecentWrites()
        self._failures = 0
        self._reencoding = ReencodeOnRead()
        # By user: the stored head, the version of the new encoder, and the embedding.
        self._reencoded: LRUCache[str, tuple[bytes, int, Vector | None]] = LRUCache(REENCODED)

    async def embedding(self, user_id: str, encoder: Encoder) -> Vector | None:
        """Reads only the head of the profile. Raises Unavailable early if the server is slow or just failed."""
        head = await self._link.quick("GETRANGE", keys.profile(user_id), 0, codec.HEAD_BYTES - 1)
        if not head or head == TOMBSTONE:
            return None
        version, embedding = codec.embedding(head)
        if version == encoder.version:
            return embedding
        known = self._reencoded.get(user_id)
        if known and known[:2] == (head, encoder.version):
            return known[2]
        key = user_id, encoder.version, head
        return await self._reencoding.embedding(key, lambda: self._reencode_user(user_id, encoder))

    async def _reencode_user(self, user_id: str, encoder: Encoder) -> Vector | None:
        """Cached, but not written: servers of two versions would overwrite each other for ever."""
        data = await self._link.quick("GET", keys.profile(user_id))
        if not data or data == TOMBSTONE:
            return None
        profiles = await self._references.resolve([codec.decode(user_id, data, self._references.known)])
        encoded = await self._encoded({p.user_id: Absorption(p).engagements for p in profiles}, encoder)
        embedding = encoded[user_id] if encoded[user_id].any() else None
        self._reencoded[user_id] = (data[: codec.HEAD_BYTES], encoder.version, embedding)
        return embedding

    async def profile(self, user_id: str) -> Profile | None:
        data = await self._link.one("GET", keys.profile(user_id))
        if not data or data == TOMBSTONE:
            return None
        return (await self._references.resolve([codec.decode(user_id, data)]))[0]

    async def absorb(self, events: Sequence[Event], encoder: Encoder, positions: Sequence[Position] = ()) -> int:
        """A process absorbs one batch at a time, because two would only conflict."""
        per_event: Sequence[Position | None] = positions or [None] * len(events)
        waiting: Arrivals = list(zip(events, per_event, strict=True))
        logged: set[tuple[str, str]] = set()
        new = 0
        async with self._turn:
            if self._failures != self._link.failures:  # the server may have lost what we wrote
                self._recent.clear()
                self._failures = self._link.failures
            log_before = self._log.last
            for attempt in range(ATTEMPTS):
                users = {event.user_id for event, _ in waiting}
                work = await self._load(users)
                # These users were forgotten after their events were logged.
                for user_id in {user_id for user_id, _ in logged} & users - work.keys():
                    await self._log.forget(user_id, log_before)
                done, conflicts = await self._absorb(waiting, work, encoder, logged)
                new += done
                if not conflicts:
                    return new
                waiting = [(event, position) for event, position in waiting if event.user_id in conflicts]
                await asyncio.sleep(WAIT(min(attempt, 3)))
        raise Unavailable("too many processes absorb events of the same users at once")

    async def _absorb(
        self, arrivals: Arrivals, work: Mapping[str, Stored], encoder: Encoder, logged: set[tuple[str, str]]
    ) -> tuple[int, set[str]]:
        """(number of new events, users whose profile another process changed meanwhile). The events of these are added to `logged`."""
        new = []
        for event, position in arrivals:
            if (entry := work.get(event.user_id)) and entry.absorption.add(event, position):
                new.append(event)
        changed = {user_id: entry for user_id, entry in work.items() if entry.absorption.changed}
        recent = {
            user_id: entry.absorption.engagements
            for user_id, entry in changed.items()
            if entry.absorption.stale(encoder.version)
        }
        later = dict.fromkeys(recent, zeros())
        embeddings = await self._encoded(recent, encoder) if encoder.version else later
        now = time.time()
        after = {
            user_id: entry.absorption.profile(now, embeddings.get(user_id), encoder.version)
            for user_id, entry in changed.items()
        }
        encoded = {user_id: codec.encode(profile) for user_id, profile in after.items()}
        await self._references.write(new)
        await self._log.append([e for e in new if (e.user_id, e.id) not in logged] if logged else new)
        answers = await self._link.many(
            [
                ("EVAL", _REPLACE, 1, keys.profile(user_id), entry.data, encoded[user_id])
                for user_id, entry in changed.items()
            ]
        )
        lost = {user_id for user_id, stored in zip(changed, answers, strict=True) if not stored}
        logged.update((e.user_id, e.id) for e in new if e.user_id in lost)
        done = sum(len(entry.absorption.new) for user_id, entry in changed.items() if user_id not in lost)
        for user_id in work.keys() - lost:
            absorption, data = work[user_id].absorption, work[user_id].data
            if user_id in after:
                absorption.rebase(after[user_id])
                data = encoded[user_id]
            self._recent.put(user_id, Stored(data, absorption))
        return done, lost

    async def _encoded(
        self, recent: Mapping[str, Sequence[Event]], encoder: Encoder, key: Callable[[str], str] = keys.profile
    ) -> dict[str, Vector]:
        """User embeddings from the events and the prior of each user, in one call of the encoder. `key`: of a user's profile."""
        if not recent:
            return {}
        users = list(recent.values())
        known = await self._embeddings.of([event for events in users for event in events])
        known_priors = await self.heads.priors([key(user) for user in recent], encoder.version)
        # In a thread: a thousand events can take a learned encoder some tenths of a second.
        return dict(
            zip(recent, await asyncio.to_thread(priors.encode, users, known, encoder, known_priors), strict=True)
        )

    async def _load(self, user_ids: set[str]) -> dict[str, Stored]:
        """Profiles by user, without forgotten users. Entries from memory are valid unless the write finds other bytes."""
        work = {user_id: known for user_id in user_ids if (known := self._recent.take(user_id))}
        users = list(user_ids - work.keys())
        answers = await self._link.many([("GET", keys.profile(user_id)) for user_id in users])
        before = {user_id: data or b"" for user_id, data in zip(users, answers, strict=True) if data != TOMBSTONE}
        profiles = [
            codec.decode(user_id, data, self._references.known) if data else Profile(user_id, zeros())
            for user_id, data in before.items()
        ]
        profiles = await self._references.resolve(profiles)
        return work | {p.user_id: Stored(before[p.user_id], Absorption(p)) for p in profiles}

    async def forget(self, user_id: str) -> bool:
        """Writes the tombstone first, so that other processes find it. An interrupted call can be repeated."""
        before = await self._link.one("GETSET", keys.profile(user_id), TOMBSTONE)
        vector = await self._link.one("DEL", keys.vector_of(keys.profile(user_id)))
        decisions = await self._decisions.forget(user_id)
        events = await self._log.forget(user_id)
        return before not in (None, TOMBSTONE) or bool(vector or decisions or events)

    async def events(self, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, Event]]:
        return await self._log.after(after, limit)

    async def scan(self, batch: int = 1000) -> AsyncIterator[ProfileHeads]:
        """Keys are those of Redis, because no user id is stored."""
        page: list[str] = []
        async for key in self._link.scan(keys.PROFILES):
            page.append(key.decode())
            if len(page) == batch:
                yield await self._heads(page)
                page = []
        if page:
            yield await self._heads(page)

    async def _heads(self, page: Sequence[str]) -> ProfileHeads:
        answers = await self._link.many([("GETRANGE", key, 0, codec.HEAD_BYTES - 1) for key in page])
        return heads(dict(zip(page, answers, strict=True)))

    async def engaged(self, item_ids: Sequence[str], batch: int = 1000) -> AsyncIterator[Sequence[str]]:
        """Reads all profiles, because there is no index of items."""
        items = set(item_ids)
        async for page in self.scan(batch):
            profiles = await self._references.resolve(self._decoded(await self._bytes(page.keys)))
            keys = [p.user_id for p in profiles if any(e.item_id in items for e in Absorption(p).engagements)]
            if keys:
                yield keys

    async def reencode(self, keys: Sequence[str], encoder: Encoder, always: bool = False) -> int:
        before = await self._bytes(keys)
        whole = {key: data for key, data in before.items() if data}
        profiles = stale(whole, None if always else encoder.version, self._references.known)
        return sum((await self._replace(profiles, before, encoder)).values())

    async def encode_again(self, keys: Sequence[str], encoder: Encoder) -> None:
        """Encode the users with these keys, whose priors changed. One without a profile gets one if there is a prior."""
        for attempt in range(ATTEMPTS):
            before = await self._bytes(keys)
            done = await self._replace(self._decoded(before), before, encoder)
            keys = [key for key, replaced in done.items() if not replaced]
            if not keys:
                return
            await asyncio.sleep(WAIT(min(attempt, 3)))
        raise Unavailable("too many processes absorb events of the same users at once")

    async def behaviour(self, keys: Sequence[str], encoder: Encoder, halve: bool) -> Behaviour:
        """As UserVectors.behaviour."""
        before = await self._bytes(keys)
        profiles = {p.user_id: p for p in await self._references.resolve(self._decoded(before))}
        users = [Absorption(profiles[key]).engagements if key in profiles else () for key in keys]
        known = await self._embeddings.of([event for events in users for event in events])
        stored = [bool(before.get(key)) for key in keys]
        return await asyncio.to_thread(priors.behaviour, users, known, encoder, stored, halve)

    async def _bytes(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Profiles by key as stored, empty if there is none; without forgotten users."""
        answers = await self._link.many([("GET", key) for key in keys])
        return {key: data or b"" for key, data in zip(keys, answers, strict=True) if data != TOMBSTONE}

    def _decoded(self, before: Mapping[str, bytes]) -> list[Profile]:
        """Profiles that can be read, and new ones; their `user_id` is the key."""
        now, out = time.time(), list[Profile]()
        for key, data in before.items():
            with suppress(StoreError):
                known = self._references.known
                out.append(codec.decode(key, data, known) if data else Profile(key, zeros(), updated_at=now))
        return out

    async def _replace(self, profiles: list[Profile], before: Mapping[str, bytes], encoder: Encoder) -> dict[str, bool]:
        """Encode profiles, whose `user_id` is the key; returns by key whether it was replaced, False if it changed meanwhile."""
        profiles = await self._references.resolve(profiles)
        encoded = await self._encoded({p.user_id: Absorption(p).engagements for p in profiles}, encoder, str)
        after = {
            p.user_id: codec.encode(replace(p, embedding=encoded[p.user_id], encoder=encoder.version))
            for p in profiles
            if before[p.user_id] or encoded[p.user_id].any()
        }
        commands = [("EVAL", _REPLACE, 1, key, before[key], data) for key, data in after.items()]
        return dict(zip(after, map(bool, await self._link.many(commands)), strict=True))

    async def user_count(self) -> int:
        """Scans all keys: a second or two for each million users."""
        profiles = list({key async for key in self._link.scan(keys.PROFILES)})  # a scan may return a key twice
        lengths = await self._link.many([("STRLEN", key) for key in profiles])
        return sum(length > len(TOMBSTONE) for length in lengths)
