"""Users encoded anew for an answer, because what is stored of them came from another encoder. Knows no database."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable

from eyecatch.core.errors import Unavailable
from eyecatch.core.types import Vector

# An answer waits so long, rare as it is: later, an unpersonalised one is better.
ANEW_S = 0.1
# At once; more would only wait for each other.
MAX_USERS = 64


class Anew:
    """Each user once, however many ask; an encoding that takes too long for its answer goes on, for the next one."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Future[Vector | None]] = {}

    async def embedding(self, key: Hashable, encode: Callable[[], Awaitable[Vector | None]]) -> Vector | None:
        """What `encode` gives and remembers; `key` is the user, and whatever must be the same to share it.

        Raises Unavailable after ANEW_S, and at once when too many users are being encoded.
        """
        if key not in self._running:
            if len(self._running) >= MAX_USERS:
                raise Unavailable(f"{MAX_USERS} users are being encoded anew already")
            task = self._running[key] = asyncio.ensure_future(encode())
            task.add_done_callback(lambda _: self._running.pop(key))
        try:
            async with asyncio.timeout(ANEW_S):
                return await asyncio.shield(self._running[key])
        except TimeoutError as error:
            raise Unavailable("the store is too busy to encode a user anew") from error
