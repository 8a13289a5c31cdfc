"""The pools in memory: covers of the items in use as dense arrays, so that a request is a few numpy calls.

A read-through cache of the CatalogStore, bounded in items; the oldest are removed first. Knows no user and no wire.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eyecatch.core.errors import StoreError, Unavailable
from eyecatch.core.ports import CatalogStore
from eyecatch.core.score import CLICKS, Scoring
from eyecatch.core.trust.standing import REVIEW, visible
from eyecatch.core.types import EMBEDDING_DIM, Cover, Vector

# Far below every real score, but finite, so that arithmetic with it never gives NaN.
EMPTY = np.float32(-1e30)
HUNG_S = 0.25
TRIALS = 4
"""Covers of an item on trial at a time, the oldest."""


class Pools:
    """Arrays indexed by slot: an item has one slot, a slot has `width` flat for covers. Slot 0 is always empty: unknown items.

    rows (S, P, D + 1): a cover's embedding, then the sum of its stored rewards' contributions (EMPTY for an empty place and a cover on
    trial). One gather and one product with [weighted user embedding, 1] give the scores. base (S, P): that sum, also on trial.
    raw, contributions (S, P, R): the stored rewards, and their parts of the sum. counts, trials (S,): the numbers of covers that every
    user may see and, in the places after them, of those on trial. chances (S,): counts, plus P + 1 where there is a trial.
    thin: slots of items with no cover or fewer than `thin_below` in the store. incomplete: these, and slots without a cover that every
    user may see. items: item ids by slot.
    ids, uris, cached: flat lists; place p of slot s is entry s * width + p. before_change: called before a slot gets other covers.
    `mode`: who may see made covers, one of core/trust/standing.py's MODES.
    """

    def __init__(
        self,
        catalog: CatalogStore,
        scoring: Scoring,
        width: int = 16,
        max_items: int = 50_000,
        thin_below: int = 1,
        mode: str = REVIEW,
    ) -> None:
        self.scoring = scoring
        self.width = width
        self.thin_below = thin_below
        self._mode = mode
        self._catalog = catalog
        self._max_slots = max_items + 1
        self._slots: OrderedDict[str, int] = (
            OrderedDict()
        )  # a dict is slow to find its oldest entry after many deletions
        self._free: list[int] = []
        self._reads: dict[asyncio.Task[bool], float] = {}
        self.clicks: Mapping[str, float] = {}
        """The reward CLICKS by cover, of covers that have one; it counts from an item's next `fill`."""
        self.before_change: list[Callable[[], None]] = []
        self.items: list[str] = []
        self.ids: list[str] = []
        self.uris: list[str] = []
        self.counts, self.trials, self.chances = np.zeros((3, 0), np.intp)
        self.thin: set[int] = set()
        self.incomplete: set[int] = set()
        self.cached: list[bytes] = []
        """Bytes that the API computes once for each cover; emptied when the pool changes."""
        self._grow(256)
        self._free.remove(0)

    def _grow(self, slots: int) -> None:
        old = len(self.counts)
        rewards = len(self.scoring.stored)

        def larger(name: str, shape: tuple[int, ...], fill: float) -> Vector:
            array = np.full((slots, *shape), fill, np.float32)
            if old:
                array[:old] = getattr(self, name)
            return array

        self.rows = larger("rows", (self.width, EMBEDDING_DIM + 1), 0.0)
        self.rows[old:, :, -1] = EMPTY
        self.base = larger("base", (self.width,), float(EMPTY))
        self.raw = larger("raw", (self.width, rewards), np.nan)
        self.contributions = larger("contributions", (self.width, rewards), 0.0)
        self.counts, self.trials, self.chances = (
            np.append(numbers, np.zeros(slots - old, np.intp)) for numbers in (self.counts, self.trials, self.chances)
        )
        more = (slots - old) * self.width
        self.thin.update(range(old, slots))
        self.incomplete.update(range(old, slots))
        self.items += [""] * (slots - old)
        self.ids += [""] * more
        self.uris += [""] * more
        self.cached += [b""] * more
        self._free += range(slots - 1, old - 1, -1)

    def _slot(self, item_id: str) -> int:
        slot = self._slots.get(item_id)
        if slot is None:
            size = len(self.counts)
            if not self._free and size < self._max_slots:
                self._grow(min(2 * size, self._max_slots))
            if not self._free:
                self.drop([next(iter(self._slots))])
            slot = self._slots[item_id] = self._free.pop()
        return slot

    def drop(self, item_ids: Sequence[str]) -> None:
        """Remove items from memory; the next request reads them from the store again."""
        for item_id in item_ids:
            slot = self._slots.pop(item_id, None)
            if slot is not None:
                self._set(slot, "", [], 0, 0)
                self._free.append(slot)

    def fill(self, item_id: str, covers: Sequence[Cover]) -> None:
        """Set an item's pool. Of too many covers those with the best stored rewards stay; among equals the newer ones."""
        shown, trials = visible(covers, self._mode)
        trials = trials[: min(TRIALS, self.width - 1)]
        places = self.width - len(trials)
        if len(shown) > places:
            stored = self.scoring.contributions(np.stack([self._raw(c) for c in shown])).sum(axis=1)
            best = sorted(range(len(shown)), key=lambda i: (-float(stored[i]), -shown[i].created_at))
            shown = [shown[i] for i in sorted(best[:places])]
        self._set(self._slot(item_id), item_id, [*shown, *trials], len(covers), len(trials))

    def _set(self, slot: int, item_id: str, covers: Sequence[Cover], stored_covers: int, trials: int) -> None:
        """The last `trials` of `covers` are on trial."""
        for notify in self.before_change:
            notify()
        n = len(covers)
        self.items[slot] = item_id
        self.base[slot] = EMPTY
        self.counts[slot], self.trials[slot] = n - trials, trials
        self.chances[slot] = n - trials + (self.width + 1 if trials else 0)
        thin = stored_covers < max(1, self.thin_below)
        (self.thin.add if thin else self.thin.discard)(slot)
        (self.incomplete.add if thin or n == trials else self.incomplete.discard)(slot)
        if n:
            self.rows[slot, :n, :-1] = [c.embedding for c in covers]
            self.raw[slot, :n] = [self._raw(c) for c in covers]
            self.contributions[slot, :n] = self.scoring.contributions(self.raw[slot, :n])
            self.base[slot, :n] = self.contributions[slot, :n].sum(axis=1)
        self.rows[slot, :, -1] = self.base[slot]
        self.rows[slot, n - trials :, -1] = EMPTY
        flat, rest = slice(slot * self.width, (slot + 1) * self.width), [""] * (self.width - n)
        self.ids[flat] = [c.id for c in covers] + rest
        self.uris[flat] = [c.uri for c in covers] + rest
        self.cached[flat] = [b""] * self.width

    def _raw(self, cover: Cover) -> Vector:
        clicks = self.clicks.get(cover.id)
        return self.scoring.raw(cover.rewards if clicks is None else {**cover.rewards, CLICKS: clicks})

    def __len__(self) -> int:
        """Items in memory."""
        return len(self._slots)

    def sizes(self) -> "np.ndarray[Any, np.dtype[np.intp]]":
        """Covers that every user may see, of each item in memory, (n,)."""
        return self.counts[list(self._slots.values())]

    def reward_sample(self, covers: int) -> dict[str, Vector]:
        """Each stored reward of the covers in memory, of about `covers` of them."""
        slots = list(self._slots.values())
        slots = slots[:: max(1, len(slots) * self.width // covers)]
        some = self.raw[slots][self.base[slots] != EMPTY]  # an empty place still has the rewards of an earlier cover
        return {
            spec.name: column[np.isfinite(column)] for spec, column in zip(self.scoring.stored, some.T, strict=True)
        }

    def slots(self, item_ids: Sequence[str]) -> list[int]:
        """The slot of each item, 0 if it is not in memory. Valid until the next await."""
        slots = list(map(self._slots.get, item_ids))
        return [slot or 0 for slot in slots] if None in slots else slots  # type: ignore[return-value]

    def hold(self, item_ids: Sequence[str]) -> bool:
        """Whether all items are in memory and none occurs twice."""
        return len(set(item_ids)) == len(item_ids) and all(map(self._slots.__contains__, item_ids))

    async def load(self, item_ids: Sequence[str], within_s: float) -> bool:
        """Read the pools that are not in memory; False if the store does not answer in `within_s` seconds.

        A late answer fills them for the next request. While a read takes longer than HUNG_S, none is begun.
        """
        known = self._slots
        missing = [i for i in item_ids if i not in known]
        if not missing:
            return True
        now = time.monotonic()
        if now - next(iter(self._reads.values()), now) > HUNG_S:
            return False
        read = asyncio.ensure_future(self._read(missing))
        self._reads[read] = now
        read.add_done_callback(self._reads.pop)
        done, _ = await asyncio.wait([read], timeout=max(within_s, 0.0))
        return bool(done) and read.result()

    async def _read(self, item_ids: Sequence[str]) -> bool:
        try:
            pools = await self._catalog.pools(item_ids)
        except (Unavailable, StoreError):
            return False
        for item_id, covers in pools.items():
            self.fill(item_id, covers)
        return True
