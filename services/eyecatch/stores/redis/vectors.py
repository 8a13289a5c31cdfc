"""The UserVectors port on Redis: a key for each vector, in the slot of its profile. Stores no user id.

A vector is written before its user is encoded; an interrupted call can be repeated.
"""

from collections.abc import AsyncIterator, Sequence

from eyecatch.core.ports import Encoder
from eyecatch.core.types import Behaviour, Prior, UserVector, UserVectorRows
from eyecatch.stores import vector_codec as codec
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.keys import vector_of
from eyecatch.stores.redis.link import Command, Link
from eyecatch.stores.redis.profiles import RedisProfiles
from eyecatch.stores.redis.tombstones import TOMBSTONE

# In one step with the look for a tombstone, so that a vector cannot outlive its user.
_PUT = """
if redis.call('GETRANGE', KEYS[1], 0, 0) == ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""
_SET_PRIOR = """
local now = redis.call('GET', KEYS[1])
if not now or string.sub(now, #ARGV[1] + 1) ~= ARGV[2] then return 0 end
redis.call('SETRANGE', KEYS[1], 0, ARGV[1])
return 1
"""


class RedisVectors:
    def __init__(self, link: Link, profiles: RedisProfiles) -> None:
        self._link, self._profiles = link, profiles

    async def put(self, vectors: Sequence[UserVector], priors: Sequence[Prior] | None, encoder: Encoder) -> int:
        rows = {
            keys.profile(v.user_id): codec.encode(v.values, None if priors is None else priors[n], encoder.version)
            for n, v in enumerate(vectors)
        }
        await self._profiles.heads.mark()
        commands: list[Command] = [
            ("EVAL", _PUT, 2, key, keys.vector_of(key), TOMBSTONE, data) for key, data in rows.items()
        ]
        stored = [key for key, done in zip(rows, await self._link.many(commands), strict=True) if done]
        if priors is not None:
            await self._profiles.encode_again(stored, encoder)
        return len(stored)

    async def scan(self, batch: int = 1000) -> AsyncIterator[UserVectorRows]:
        """Keys are those of the profiles in Redis, because no user id is stored."""
        page: list[str] = []
        async for key in self._link.scan(keys.VECTORS):
            page.append(key.decode())
            if len(page) == batch:
                yield await self._rows(page)
                page = []
        if page:
            yield await self._rows(page)

    async def _rows(self, page: Sequence[str]) -> UserVectorRows:
        answers = await self._link.many([("GET", key) for key in page])
        return codec.rows({keys.profile_of(key): data for key, data in zip(page, answers, strict=True) if data})

    async def behaviour(self, keys: Sequence[str], encoder: Encoder, halve: bool = False) -> Behaviour:
        return await self._profiles.behaviour(keys, encoder, halve)

    async def set_priors(self, rows: UserVectorRows, priors: Sequence[Prior] | None, encoder: Encoder) -> int:
        commands: list[Command] = []
        for n, key in enumerate(rows.keys):
            head = codec.head(None if priors is None else priors[n], encoder.version)
            commands.append(("EVAL", _SET_PRIOR, 1, keys.vector_of(key), head, codec.raw(rows.vectors[n])))
        answers = await self._link.many(commands)
        changed = [key for key, done in zip(rows.keys, answers, strict=True) if done]
        await self._profiles.encode_again(changed, encoder)
        return len(changed)

    async def remove(self, keys: Sequence[str]) -> None:
        await self._link.many([("DEL", vector_of(key)) for key in keys])
