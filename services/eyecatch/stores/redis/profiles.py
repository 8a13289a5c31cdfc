"""Users in Redis: the ProfileStore port. A profile is one key, replaced whole if nobody else replaced it meanwhile.

Order of an absorption: names, log, profiles. Cut short anywhere, doing it again completes it: a profile knows what it has seen.
"""

import asyncio
import time
from collections.abc import Sequence

from eyecatch.core.absorb import Absorption
from eyecatch.core.errors import Unavailable
from eyecatch.core.ports import Encoder
from eyecatch.core.types import Event, Position, Profile, Vector, zeros
from eyecatch.stores import codec
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.decisions import RedisDecisions
from eyecatch.stores.redis.embeddings import CatalogEmbeddings
from eyecatch.stores.redis.link import Command, Link, delay
from eyecatch.stores.redis.log import EventLog
from eyecatch.stores.redis.names import References
from eyecatch.stores.redis.tombstones import TOMBSTONE

# Conflicts need two processes with events of one user at one time: rare, and over in one more round.
ATTEMPTS = 16

# The first line answers a write that was made although its answer was lost.
_REPLACE = """
local now = redis.call('GET', KEYS[1]) or ''
if now == ARGV[2] then return 1 end
if now ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

Arrivals = Sequence[tuple[Event, Position | None]]


class RedisProfiles:
    def __init__(self, link: Link, embeddings: CatalogEmbeddings, log: EventLog, decisions: RedisDecisions) -> None:
        self._link, self._embeddings, self._log, self._decisions = link, embeddings, log, decisions
        self._references = References(link)
        self._turn = asyncio.Lock()

    async def embedding(self, user_id: str) -> Vector | None:
        """Reads only the head of the profile; gives up early when the server is slow or was just away (Unavailable)."""
        head = await self._link.quick("GETRANGE", keys.profile(user_id), 0, codec.HEAD_BYTES - 1)
        return codec.embedding(head)[1] if head and head != TOMBSTONE else None

    async def profile(self, user_id: str) -> Profile | None:
        data = await self._link.one("GET", keys.profile(user_id))
        if not data or data == TOMBSTONE:
            return None
        return (await self._references.named([codec.decode(user_id, data)]))[0]

    async def absorb(
        self, events: Sequence[Event], encode: Encoder, positions: Sequence[Position] = (), encoder: int = 0
    ) -> int:
        """Absorptions of one process take turns: two at once would only conflict."""
        places: Sequence[Position | None] = positions or [None] * len(events)
        waiting: Arrivals = list(zip(events, places, strict=True))
        logged: set[tuple[str, str]] = set()
        new = 0
        async with self._turn:
            for attempt in range(ATTEMPTS):
                done, conflicts = await self._absorb(waiting, encode, encoder, logged)
                new += done
                if not conflicts:
                    return new
                waiting = [(event, place) for event, place in waiting if event.user_id in conflicts]
                await asyncio.sleep(delay(min(attempt, 3)))
        raise Unavailable("too many processes absorb events of the same users at once")

    async def _absorb(
        self, arrivals: Arrivals, encode: Encoder, encoder: int, logged: set[tuple[str, str]]
    ) -> tuple[int, set[str]]:
        """(events that were new, users whose profile somebody else changed meanwhile)."""
        users = {event.user_id for event, _ in arrivals}
        before, work = await self._load(users)
        for user_id in users & {user_id for user_id, _ in logged} - work.keys():
            await self._log.forget(user_id)  # they were forgotten after their events were logged
        new = [e for e, position in arrivals if (mine := work.get(e.user_id)) and mine.add(e, position)]
        changed = {user_id: mine for user_id, mine in work.items() if mine.changed}
        known = await self._embeddings.of([e for mine in changed.values() if mine.new for e in mine.engagements])
        now = time.time()
        commands: list[Command] = []
        for user_id, mine in changed.items():
            embedding = encode(mine.engagements, known) if mine.new else None
            after = codec.encode(mine.profile(now, embedding, encoder))
            commands.append(("EVAL", _REPLACE, 1, keys.profile(user_id), before[user_id], after))
        await self._link.many(self._references.writing(new))
        await self._log.append([e for e in new if (e.user_id, e.id) not in logged])
        logged.update((e.user_id, e.id) for e in new)
        answers = await self._link.many(commands)
        lost = {user_id for user_id, stored in zip(changed, answers, strict=True) if not stored}
        return sum(len(mine.new) for user_id, mine in changed.items() if user_id not in lost), lost

    async def _load(self, user_ids: set[str]) -> tuple[dict[str, bytes], dict[str, Absorption]]:
        """By user, of those who are not forgotten: (the bytes stored, the profile ready to absorb)."""
        users = list(user_ids)
        answers = await self._link.many([("GET", keys.profile(user_id)) for user_id in users])
        before = {user_id: data or b"" for user_id, data in zip(users, answers, strict=True) if data != TOMBSTONE}
        profiles = [
            codec.decode(user_id, data, self._references.known) if data else Profile(user_id, zeros())
            for user_id, data in before.items()
        ]
        return before, {p.user_id: Absorption(p) for p in await self._references.named(profiles)}

    async def forget(self, user_id: str) -> bool:
        """The tombstone first: what other processes write from then on finds it. A forgetting cut short can be repeated."""
        before = await self._link.one("GETSET", keys.profile(user_id), TOMBSTONE)
        decisions = await self._decisions.forget(user_id)
        events = await self._log.forget(user_id)
        return before not in (None, TOMBSTONE) or bool(decisions or events)

    async def events(self, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, Event]]:
        return await self._log.after(after, limit)

    async def user_count(self) -> int:
        """Walks all keys: a second or two for each million users."""
        found = list({key async for key in self._link.scan(keys.PROFILES)})  # a scan may give a key twice
        lengths = await self._link.many([("STRLEN", key) for key in found])
        return sum(length > len(TOMBSTONE) for length in lengths)
