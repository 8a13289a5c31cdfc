"""Decisions on their way to the log: added without waiting on the fast path, written in batches beside it, bounded."""

import asyncio
import contextlib

from eyecatch.core.errors import Unavailable
from eyecatch.core.ports import DecisionLog
from eyecatch.core.types import Decision


class DecisionBuffer:
    """`add` never blocks; `run` drains until cancelled, and `close` writes what is left."""

    def __init__(self, log: DecisionLog, capacity: int = 10_000, batch: int = 1000, linger_s: float = 0.5) -> None:
        self._log = log
        self._capacity = capacity
        self._batch = batch
        self._linger_s = linger_s
        self._waiting: list[Decision] = []
        self._some = asyncio.Event()
        self.failing = False

    def add(self, decision: Decision) -> bool:
        """False when the decision had to be dropped or the log is failing; the answer must then say that it was not logged."""
        if len(self._waiting) >= self._capacity:
            return False
        self._waiting.append(decision)
        self._some.set()
        return not self.failing

    async def run(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(self._linger_s)  # lets a batch gather: one transaction for many decisions
            await self.flush()

    async def flush(self) -> None:
        """Write everything waiting; on a store failure keep it for the next try."""
        while self._waiting:
            batch = self._waiting[: self._batch]
            try:
                await self._log.append(batch)
            except Unavailable:
                self.failing = True
                return
            self.failing = False
            del self._waiting[: len(batch)]
        self._some.clear()

    async def close(self) -> None:
        with contextlib.suppress(Unavailable):
            await self.flush()
