"""Decisions on their way to the log: added without waiting on the fast path, written in batches beside it, bounded.

A decision comes as the numbers of a Ranked and waits as a line of text: as objects, a batch of them would push the fast path's own
data out of the processor's cache. Lines are made some dozens at a time, which costs less than making each within its request.
"""

import asyncio
import contextlib

import numpy as np

from eyecatch.core.errors import Unavailable
from eyecatch.core.ports import DecisionLog
from eyecatch.core.recommending.pools import Pools
from eyecatch.core.recommending.ranking import Ranked
from eyecatch.core.types import Decision

# Ids are printable, so they hold none of these.
FIELD, LIST = "\t", "\x1f"
FRESH = 64


def to_line(d: Decision) -> str:
    """id, user, time, item ids, cover ids and the propensities' hexadecimal bytes, without a line end."""
    numbers = np.asarray(d.propensities, "<f4").tobytes().hex()
    return f"{d.id}\t{d.user_id}\t{d.time!r}\t{LIST.join(d.item_ids)}\t{LIST.join(d.cover_ids)}\t{numbers}"


def from_line(line: str) -> Decision:
    id, user_id, time, items, covers, numbers = line.split(FIELD)
    propensities = np.frombuffer(bytes.fromhex(numbers), "<f4").tolist()
    return Decision(id, user_id, float(time), _split(items), _split(covers), tuple(propensities))


def id_and_user(line: str) -> tuple[str, str]:
    """What a store must know of a line."""
    id, user_id, _ = line.split(FIELD, 2)
    return id, user_id


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split(LIST)) if text else ()


class DecisionBuffer:
    """`add` never blocks; `run` drains until cancelled, and `close` writes what is left."""

    def __init__(
        self, log: DecisionLog, pools: Pools, capacity: int = 10_000, batch: int = 1000, linger_s: float = 0.5
    ) -> None:
        self._log = log
        self._pools = pools
        pools.before_change.append(self._settle)  # afterwards a place may hold another cover
        self._capacity = capacity
        self._batch = batch
        self._linger_s = linger_s
        self._waiting: list[str] = []
        self._fresh: list[tuple[str, str, float, Ranked]] = []
        self._some = asyncio.Event()
        self.failing = False

    def add(self, id: str, user_id: str, time: float, ranked: Ranked) -> bool:
        """The first covers of an answer, item by item; must follow their ranking without an await.

        False when the decision had to be dropped or the log is failing; the answer must then say that it was not logged.
        """
        if len(self._waiting) + len(self._fresh) >= self._capacity:
            return False
        self._fresh.append((id, user_id, time, ranked))
        if len(self._fresh) >= FRESH:
            self._settle()
        self._some.set()
        return not self.failing

    def _settle(self) -> None:
        ids, items, width = self._pools.ids, self._pools.items, self._pools.width
        for id, user_id, time, ranked in self._fresh:
            covers, propensities = ranked.covers[:: ranked.k], ranked.propensity[:: ranked.k]
            if not ranked.full:
                shown = ranked.shown[:: ranked.k]
                covers, propensities = covers[shown], propensities[shown]
            item_ids = [items[slot] for slot in (covers // width).tolist()]
            cover_ids = [ids[cover] for cover in covers.tolist()]
            self._waiting.append(to_line(Decision(id, user_id, time, item_ids, cover_ids, propensities)))
        self._fresh.clear()

    async def run(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(self._linger_s)  # lets a batch gather: one transaction for many decisions
            await self.flush()

    async def flush(self) -> None:
        """Write everything waiting; on a store failure keep it for the next try."""
        self._settle()
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
