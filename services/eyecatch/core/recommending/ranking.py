"""Scores and choices for the items of one request: one gather, one product, one argmax. Knows no store and no wire."""

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from eyecatch.core.recommending.pools import EMPTY, Pools
from eyecatch.core.types import Vector


@dataclass(eq=False, slots=True)
class Ranked:
    """The chosen covers of n items for one user, k places an item, best first.

    The arrays are flat: entry i * k + j is cover j of row i. `covers` are places in the flat lists of Pools; score = contribution
    of the preference + stored part; `dots` are dot products with the user embedding, 0 without one. An item with fewer than k
    covers has scores below `FEWER` in the places left over. `full` is a short cut: k is 1 and no item's pool is thin or empty.
    """

    k: int
    full: bool
    covers: Any  # (n * k,) integers
    scores: Vector
    dots: Vector
    contributions: Vector
    propensity: Vector

    @property
    def shown(self) -> Any:
        """(n * k,) booleans: whether there is a cover."""
        return self.scores > FEWER


FEWER = EMPTY / 2


class Ranker:
    """rank() scores and chooses; `exploration` is the share of items whose first cover is drawn from the whole pool."""

    def __init__(self, pools: Pools, exploration: float, seed: int | None = None) -> None:
        self._pools = pools
        self._exploration = exploration
        self._random = random.Random(seed)
        spec = pools.scoring.preference
        self._gain = np.float32(spec.weight / spec.deviation)
        self._offset = self._gain * np.float32(spec.mean)
        self._weights = np.ones(pools.rows.shape[-1], np.float32)
        self._taste = self._weights[:-1]
        counts = np.maximum(np.arange(pools.width + 1), 1)
        # By the number of covers: the probability of each to be put first, of the best and of any other one.
        self._others = (exploration / counts).astype(np.float32)
        self._best = self._others + np.float32(1 - exploration)
        self._scale = 1 / math.log1p(-min(exploration, 1 - 1e-12)) if exploration else 0.0
        self._plain = self._gap() if exploration else 1 << 62  # items until the next explored one

    def rank(self, slots: list[int], user: Vector | None, k: int) -> Ranked:
        """Slots of n items (0 = unknown) -> k covers each.

        The order is by score; then, for a share `exploration` of the items, a uniformly drawn cover is put first (ε-greedy).
        propensity is the probability of the cover to be put first: 1 − ε + ε/n for the best of n, ε/n for any other.
        """
        pools, chosen = self._pools, np.array(slots)
        if user is None:
            self._taste.fill(0.0)
        else:
            np.multiply(user, self._gain, out=self._taste)
        rows = pools.rows.take(chosen, 0)  # (n, P, D + 1)
        scores = rows.reshape(-1, rows.shape[-1]).dot(self._weights).reshape(len(slots), -1)
        counts = pools.counts.take(chosen)
        first = self._best.take(counts)
        if k == 1:
            places = scores.argmax(1)
        else:
            places = (-scores).argsort(1, kind="stable")[:, :k].ravel()
            best, first = first, self._others.take(counts).repeat(k)
            first[::k] = best
        if self._plain < len(slots):
            self._explore(places, first, slots, k)
        self._plain -= len(slots)
        starts = np.arange(0, scores.size, pools.width)  # of each row in the flat scores, as `chosen` in the flat pools
        chosen *= pools.width
        if k > 1:
            starts, chosen = starts.repeat(k), chosen.repeat(k)
        starts += places
        chosen += places
        top = scores.take(starts)
        contributions = top - pools.base.take(chosen)
        if user is None or not self._gain:
            dots = np.zeros_like(top)
        else:
            dots = contributions / self._gain
            if self._offset:
                top -= self._offset
                contributions -= self._offset
        return Ranked(k, k == 1 and pools.thin.isdisjoint(slots), chosen, top, dots, contributions, first)

    def _explore(self, places: Any, propensity: Vector, slots: list[int], k: int) -> None:
        """For the items whose turn it is: the drawn cover changes places with the first, or pushes it out of the k."""
        row = self._plain
        while row < len(slots):
            count, start = self._pools.counts.item(slots[row]), row * k
            drawn = int(self._random.random() * count)
            if count and places.item(start) != drawn:
                for i in range(start + 1, start + k):
                    if places[i] == drawn:
                        places[i], propensity[i] = places[start], propensity[start]
                places[start], propensity[start] = drawn, self._exploration / count
            row += 1 + self._gap()
        self._plain = row

    def _gap(self) -> int:
        """How many items come before the next explored one: geometric, so that each is explored independently with probability ε."""
        return int(math.log(1 - self._random.random()) * self._scale)
