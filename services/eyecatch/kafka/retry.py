"""Retries of work while a server is unreachable, with growing waits, reported to /health."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from eyecatch.core.backoff import Backoff
from eyecatch.core.errors import StoreDamaged, StoreError, StoreLocked, StoreLost, StoreTooNew, Unavailable
from eyecatch.kafka.metrics import ReaderMetrics
from eyecatch.observe.health import Health

T = TypeVar("T")

STORE, DEAD_LETTERS = "store", "dead letters"
"""Names of parts for /health."""
WAIT = Backoff(0.1, 10.0)


class Retry:
    """Retries work until its part has been unreachable for `give_up_s` seconds."""

    def __init__(self, health: Health, metrics: ReaderMetrics, give_up_s: float) -> None:
        self._health, self._metrics, self._give_up_s = health, metrics, give_up_s

    async def __call__(self, part: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`. Raises Unavailable or StoreError after `give_up_s`, and other errors of `work` at once."""
        attempt = 0
        while True:
            try:
                result = await work()
            except (StoreLocked, StoreTooNew, StoreLost, StoreDamaged):  # trying again does not help
                raise
            except (Unavailable, StoreError) as error:
                if self._health.trouble(part, str(error)) >= self._give_up_s:
                    raise type(error)(f"{part}: {error}; gave up after {self._give_up_s:g} s") from error
                self._metrics.retries.labels(part).inc()
                await asyncio.sleep(WAIT(attempt))
                attempt += 1
            else:
                self._health.well(part)
                return result
