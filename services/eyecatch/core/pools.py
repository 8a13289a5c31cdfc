"""The pools in memory: covers of the items in use as dense arrays, so that a request is a handful of numpy calls.

A read-through cache of the CatalogStore, bounded in items; the oldest leave first. Knows no user and no wire.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from eyecatch.core.errors import Unavailable
from eyecatch.core.ports import CatalogStore
from eyecatch.core.score import Scoring
from eyecatch.core.types import EMBEDDING_DIM, Cover, Vector

# Far below every real score, yet finite: arithmetic with it never makes a NaN.
EMPTY = np.float32(-1e30)


class Pools:
    """Arrays indexed by slot: an item has one slot, a slot has `width` places for covers.

    `rows` (S, P, D + 1) holds a cover's embedding and, last, the sum of its stored rewards' contributions (EMPTY for an empty
    place), so that one gather and one product with [weighted user embedding, 1] give the scores. `raw` and `contributions`
    (S, P, R) are the stored rewards behind that sum.
    """

    def __init__(self, catalog: CatalogStore, scoring: Scoring, width: int = 16, max_items: int = 50_000) -> None:
        self.scoring = scoring
        self.width = width
        self._catalog = catalog
        self._max_items = max_items
        self._slots: OrderedDict[str, int] = OrderedDict()  # a dict finds its oldest entry slowly after many deletions
        self._free: list[int] = []
        self.ids: list[list[str]] = []
        self.uris: list[list[str]] = []
        self.base: list[list[float]] = []  # the last column of `rows` again, for reading single values
        self.counts: list[int] = []
        self.prepared: list[
            list[Any]
        ] = []  # for whoever answers: anything made once per cover, dropped when the pool changes
        self._grow(256)

    def _grow(self, slots: int) -> None:
        old = len(self.ids)
        rewards = len(self.scoring.stored)

        def larger(name: str, shape: tuple[int, ...], fill: float) -> Vector:
            array = np.full((slots, *shape), fill, np.float32)
            if old:
                array[:old] = getattr(self, name)
            return array

        self.rows = larger("rows", (self.width, EMBEDDING_DIM + 1), 0.0)
        self.rows[old:, :, -1] = EMPTY
        self.raw = larger("raw", (self.width, rewards), np.nan)
        self.contributions = larger("contributions", (self.width, rewards), 0.0)
        self.ids += [[] for _ in range(slots - old)]
        self.uris += [[] for _ in range(slots - old)]
        self.base += [[] for _ in range(slots - old)]
        self.counts += [0] * (slots - old)
        self.prepared += [[] for _ in range(slots - old)]
        self._free += range(slots - 1, old - 1, -1)

    def _slot(self, item_id: str) -> int:
        slot = self._slots.get(item_id)
        if slot is None:
            if not self._free and len(self.ids) < self._max_items:
                self._grow(min(2 * len(self.ids), self._max_items))
            if not self._free:
                self.drop([next(iter(self._slots))])
            slot = self._slots[item_id] = self._free.pop()
        return slot

    def drop(self, item_ids: Sequence[str]) -> None:
        """Forget items; the next request reads them from the store again."""
        for item_id in item_ids:
            slot = self._slots.pop(item_id, None)
            if slot is not None:
                self.ids[slot], self.uris[slot], self.base[slot], self.prepared[slot] = [], [], [], []
                self.counts[slot] = 0
                self._free.append(slot)

    def fill(self, item_id: str, covers: Sequence[Cover]) -> None:
        """Set an item's pool; of more than `width` covers the ones with the best stored rewards stay, newer ones first among equals."""
        slot = self._slot(item_id)
        raw = (
            np.stack([self.scoring.raw(c.rewards) for c in covers])
            if covers
            else np.empty((0, len(self.scoring.stored)), np.float32)
        )
        parts = self.scoring.contributions(raw)
        keep = sorted(range(len(covers)), key=lambda i: (-float(parts[i].sum()), -covers[i].created_at))[: self.width]
        keep.sort()
        n = len(keep)
        self.rows[slot, n:, -1] = EMPTY
        if n:
            self.rows[slot, :n, :-1] = [covers[i].embedding for i in keep]
            self.rows[slot, :n, -1] = parts[keep].sum(axis=1)
            self.raw[slot, :n] = raw[keep]
            self.contributions[slot, :n] = parts[keep]
        self.ids[slot] = [covers[i].id for i in keep]
        self.uris[slot] = [covers[i].uri for i in keep]
        self.counts[slot] = n
        self.base[slot] = self.rows[slot, :n, -1].tolist()
        self.prepared[slot] = []

    def slots(self, item_ids: Sequence[str]) -> list[int]:
        """The slot of each item, −1 for one that is not in memory. A slot is valid until the next await."""
        slots = list(map(self._slots.get, item_ids))
        return [-1 if s is None else s for s in slots] if None in slots else slots  # type: ignore[return-value]

    async def load(self, item_ids: Sequence[str]) -> bool:
        """Read the pools that are not in memory; False when the store does not answer."""
        known = self._slots
        missing = [i for i in item_ids if i not in known]
        if missing:
            try:
                found = await self._catalog.pools(missing)
            except Unavailable:
                return False
            for item_id, covers in found.items():
                self.fill(item_id, covers)
        return True
