"""Changes of several keys of one slot, all or none: read, decide, and write only if nobody changed anything meanwhile.

A guard key holds a random token, new with every change. Knows no port.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from eyecatch.core.errors import Unavailable
from eyecatch.stores.redis.link import WAIT, Command, Link

T = TypeVar("T")

# Conflicts come only from other processes; each lost race means that another one was won.
ATTEMPTS = 32

# Redis runs a script alone and, as its first write decides about memory, wholly or not at all. The second line answers
# a change that was made although its answer was lost. Keys named only in ARGV share the guard's slot.
_APPLY = """
local now = redis.call('GET', KEYS[1]) or ''
if now == ARGV[2] then return 1 end
if now ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
local i = 3
while i <= #ARGV do
  local n = tonumber(ARGV[i])
  redis.call(unpack(ARGV, i + 1, i + n))
  i = i + n + 1
end
return 1
"""

Decide = Callable[[], Awaitable[tuple[list[Command], T]]]
"""Reads what it needs and returns (commands to apply, result); called again after a conflict."""


class Guarded:
    """Changes under one guard key; those of this process take turns."""

    def __init__(self, link: Link, guard: str) -> None:
        self._link, self._guard = link, guard
        self._turn = asyncio.Lock()

    async def change(self, decide: Decide[T]) -> T:
        """Raises what `decide` raises, and Unavailable when other processes always came first."""
        async with self._turn:
            for attempt in range(ATTEMPTS):
                before = await self._link.one("GET", self._guard) or b""
                commands, result = await decide()
                if not commands:
                    return result
                flat = [part for command in commands for part in (len(command), *command)]
                after = secrets.token_bytes(12)
                if await self._link.one("EVAL", _APPLY, 1, self._guard, before, after, *flat):
                    return result
                await asyncio.sleep(WAIT(min(attempt, 3)))
        raise Unavailable("too many processes change the store at once")
