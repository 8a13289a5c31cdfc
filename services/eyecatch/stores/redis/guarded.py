"""Atomic changes of several keys of one slot: read, decide, and write only if no other change came between.

A guard key holds a random token that every change replaces. Knows no port.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from eyecatch.core.errors import Unavailable
from eyecatch.stores.redis.link import WAIT, Command, Link

T = TypeVar("T")

# Conflicts come only from other processes; for each conflict another process has succeeded.
ATTEMPTS = 32

# Redis runs a script atomically, and checks memory only before its first write. The second line answers a
# repeated change whose first answer was lost. Keys that are named only in ARGV share the guard's slot.
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
"""Reads what it needs and returns (commands to apply, result). Called again after a conflict."""


class Guarded:
    """Changes under one guard key; a process makes one at a time."""

    def __init__(self, link: Link, guard: str) -> None:
        self._link, self._guard = link, guard
        self._turn = asyncio.Lock()

    async def change(self, decide: Decide[T]) -> T:
        """The result of `decide`, after its commands are applied. Raises its errors, and Unavailable after ATTEMPTS conflicts."""
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
