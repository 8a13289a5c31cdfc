"""The clock of the server, which all processes of a store share: their own clocks may differ by minutes. Knows no key's meaning."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from eyecatch.core.errors import EyecatchError
from eyecatch.core.tasks import cancel
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Link

REFRESH_S = 5.0
# In a cluster each node has a clock; leases, which must agree, are on the node of this key.
_TIME = "local now = redis.call('TIME') return {now[1], now[2]}"


class StoreClock:
    """Reads the server's clock every REFRESH_S, and counts on by the monotonic clock of this process in between."""

    def __init__(self, link: Link, clock: Callable[[], float] = time.monotonic) -> None:
        self._link, self._clock = link, clock
        self._offset = time.time() - clock()
        self._due = 0.0
        self._refresh: asyncio.Task[None] | None = None

    async def read(self) -> None:
        """Raises the errors of the link."""
        seconds, microseconds = await self._link.one("EVAL", _TIME, 1, keys.QUEUE_GUARD)
        after = self._clock()
        self._offset = int(seconds) + int(microseconds) / 1e6 - after
        self._due = after + REFRESH_S

    def __call__(self) -> float:
        """UNIX seconds. Call it on the event loop's thread."""
        now = self._clock()
        if now >= self._due:
            self._due = now + REFRESH_S
            self._refresh = asyncio.ensure_future(self._try_read())
        return now + self._offset

    async def _try_read(self) -> None:
        with suppress(EyecatchError):  # counting on is better than this host's clock
            await self.read()

    async def close(self) -> None:
        if self._refresh is not None:
            await cancel(self._refresh)
