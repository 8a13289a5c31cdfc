"""Encodes a user again for an answer, if the stored embedding has another encoder version. Knows no database."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable

from eyecatch.core.errors import Unavailable
from eyecatch.core.types import Vector

# An answer waits at most so long; after that an answer without personalisation is better.
REENCODE_S = 0.05
# At a time; more would only wait for each other.
MAX_USERS = 64


class ReencodeOnRead:
    """Encodes each user once for all callers that wait. An encoding that takes too long goes on, for the next call."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Future[Vector | None]] = {}

    async def embedding(self, key: Hashable, encode: Callable[[], Awaitable[Vector | None]]) -> Vector | None:
        """The result of `encode`. Calls with the same `key` share one run.

        Raises Unavailable after REENCODE_S, and at once if MAX_USERS are being encoded.
        """
        if key not in self._running:
            if len(self._running) >= MAX_USERS:
                raise Unavailable(f"{MAX_USERS} users are being encoded again already")
            task = self._running[key] = asyncio.ensure_future(encode())
            task.add_done_callback(lambda _: self._running.pop(key))
        try:
            async with asyncio.timeout(REENCODE_S):
                return await asyncio.shield(self._running[key])
        except TimeoutError as error:
            raise Unavailable("the store is too busy to encode a user again") from error
