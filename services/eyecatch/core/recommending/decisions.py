"""A bounded buffer of decisions: the fast path adds them without waiting, and a task writes them to the log in batches.

Decisions wait as lines of text, because a batch of objects would push the data of the fast path out of the processor's cache.
Lines are formatted some dozens at a time, which costs less than formatting each within its request.
"""

import asyncio

import numpy as np

from eyecatch.core.errors import EyecatchError
from eyecatch.core.ports import DecisionLog
from eyecatch.core.recommending.pools import Pools
from eyecatch.core.recommending.ranking import Ranked
from eyecatch.core.types import Decision

# Ids are printable, so they contain neither.
FIELD, LIST = "\t", "\x1f"
FORMAT_BATCH = 64


def to_line(d: Decision) -> str:
    """id, user, time, item ids, cover ids and the propensities' bytes in hexadecimal, without a line end."""
    numbers = np.asarray(d.propensities, "<f4").tobytes().hex()
    return f"{d.id}\t{d.user_id}\t{d.time!r}\t{LIST.join(d.item_ids)}\t{LIST.join(d.cover_ids)}\t{numbers}"


def from_line(line: str) -> Decision:
    id, user_id, time, items, covers, numbers = line.split(FIELD)
    propensities = np.frombuffer(bytes.fromhex(numbers), "<f4").tolist()
    return Decision(id, user_id, float(time), _split(items), _split(covers), tuple(propensities))


def id_and_user(line: str) -> tuple[str, str]:
    """The two fields of a line that a store needs."""
    id, user_id, _ = line.split(FIELD, 2)
    return id, user_id


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split(LIST)) if text else ()


class DecisionBuffer:
    """`add` never blocks; `run` writes until cancelled, and `close` writes the rest."""

    def __init__(
        self, log: DecisionLog, pools: Pools, capacity: int = 10_000, batch: int = 1000, linger_s: float = 0.5
    ) -> None:
        self._log = log
        self._pools = pools
        pools.before_change.append(self._format_lines)  # after a change a place may hold another cover
        self._capacity = capacity
        self._batch = batch
        self._linger_s = linger_s
        self._waiting: list[str] = []
        self._unformatted: list[tuple[str, str, float, Ranked]] = []
        self._added = asyncio.Event()
        self.failing = False

    @property
    def waiting(self) -> int:
        """Decisions that are not written yet."""
        return len(self._waiting) + len(self._unformatted)

    def add(self, id: str, user_id: str, time: float, ranked: Ranked) -> bool:
        """Add the first cover of each item. No await may be between ranking and this call.

        False if the decision was dropped or the log fails: then the answer must say that it was not logged.
        """
        if self.waiting >= self._capacity:
            return False
        self._unformatted.append((id, user_id, time, ranked))
        if len(self._unformatted) >= FORMAT_BATCH:
            self._format_lines()
        self._added.set()
        return not self.failing

    def _format_lines(self) -> None:
        ids, items, width = self._pools.ids, self._pools.items, self._pools.width
        for id, user_id, time, ranked in self._unformatted:
            covers, propensities = ranked.covers[:: ranked.k], ranked.propensity[:: ranked.k]
            if not ranked.full:
                filled = ranked.filled[:: ranked.k]
                covers, propensities = covers[filled], propensities[filled]
            item_ids = [items[slot] for slot in (covers // width).tolist()]
            cover_ids = [ids[cover] for cover in covers.tolist()]
            self._waiting.append(to_line(Decision(id, user_id, time, item_ids, cover_ids, propensities)))
        self._unformatted.clear()

    async def run(self) -> None:
        while True:
            await self._added.wait()
            await asyncio.sleep(self._linger_s)  # collect a batch: one transaction for many decisions
            await self.flush()

    async def flush(self) -> None:
        """Write all waiting decisions; if the store fails they stay for the next try."""
        self._format_lines()
        while self._waiting:
            batch = self._waiting[: self._batch]
            try:
                await self._log.append(batch)
            except EyecatchError:
                self.failing = True
                return
            self.failing = False
            del self._waiting[: len(batch)]
        self._added.clear()

    async def close(self) -> None:
        await self.flush()
