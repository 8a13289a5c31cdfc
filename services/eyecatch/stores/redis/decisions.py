"""The DecisionLog port on Redis: a key for each decision, which expires, and a set of decision ids for each user."""

from collections.abc import AsyncIterator, Sequence

from eyecatch.core.recommending.decisions import from_line, id_and_user
from eyecatch.core.types import Decision
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Command, Link
from eyecatch.stores.redis.tombstones import forgotten


class RedisDecisions:
    def __init__(self, link: Link, retention_s: int) -> None:
        self._link, self._retention_s = link, retention_s

    async def append(self, lines: Sequence[str]) -> None:
        users = {id_and_user(line)[1] for line in lines}
        gone = await forgotten(self._link, users)
        commands: list[Command] = []
        for line in lines:
            id, user_id = id_and_user(line)
            if user_id not in gone:
                commands.append(("SADD", keys.decisions_of(user_id), id))
                commands.append(("SET", keys.decision(id), line, "EX", self._retention_s))
        commands += [("EXPIRE", keys.decisions_of(user_id), self._retention_s) for user_id in users - gone]
        await self._link.many(commands)
        # A user forgotten meanwhile has a tombstone by now, whichever of the two was written first.
        for user_id in await forgotten(self._link, users - gone):
            await self.forget(user_id)

    async def decision(self, decision_id: str) -> Decision | None:
        line = await self._link.one("GET", keys.decision(decision_id))
        return from_line(line.decode()) if line else None

    async def scan(self) -> AsyncIterator[Decision]:
        known = set[bytes]()
        async for key in self._link.scan(keys.decision("*")):
            if key not in known:
                known.add(key)
                line = await self._link.one("GET", key)
                if line:
                    yield from_line(line.decode())

    async def forget(self, user_id: str) -> int:
        """Remove the user's decisions; returns how many."""
        key = keys.decisions_of(user_id)
        ids = [id.decode() for id in await self._link.one("SMEMBERS", key)]
        gone: list[int] = await self._link.many([("DEL", keys.decision(id)) for id in ids])
        await self._link.one("DEL", key)  # last, so that an interrupted call can be repeated
        return sum(gone)
