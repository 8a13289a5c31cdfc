"""The Notes port on Redis: a key for each note."""

from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Link

# The second line answers a repeated write whose first answer was lost.
_REPLACE = """
local now = redis.call('GET', KEYS[1])
if now == ARGV[1] then return 1 end
if #ARGV == 1 and now or #ARGV == 2 and now ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""


class RedisNotes:
    def __init__(self, link: Link) -> None:
        self._link = link

    async def read(self, name: str) -> bytes | None:
        note: bytes | None = await self._link.one("GET", keys.note(name))
        return note

    async def replace(self, name: str, before: bytes | None, after: bytes) -> bool:
        expected = () if before is None else (before,)
        return bool(await self._link.one("EVAL", _REPLACE, 1, keys.note(name), after, *expected))
