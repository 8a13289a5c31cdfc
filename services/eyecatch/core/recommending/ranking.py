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
    """The chosen covers of n items for one user, k for each item, best first.

    The arrays are flat: entry i * k + j is cover j of item i. covers: indexes into the flat lists of Pools. scores: contribution of
    the preference + that of the stored rewards; below NO_COVER if the item has fewer than k covers. dots: dot products with the
    user embedding, 0 without one. full: k is 1 and no item's pool is thin or empty (a shortcut).
    """

    k: int
    full: bool
    covers: Any  # (n * k,) integers
    scores: Vector
    dots: Vector
    contributions: Vector
    propensity: Vector

    @property
    def filled(self) -> Any:
        """(n * k,) booleans: whether there is a cover."""
        return self.scores > NO_COVER


NO_COVER = EMPTY / 2


class Ranker:
    """Scores and chooses. `exploration`: the share of items whose first cover is drawn from the whole pool."""

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
        # By the number of covers: the probabilities that the best cover, and any other one, is put first.
        self._others = (exploration / counts).astype(np.float32)
        self._best = self._others + np.float32(1 - exploration)
        self._scale = 1 / math.log1p(-min(exploration, 1 - 1e-12)) if exploration else 0.0
        self._until_explored = self._gap() if exploration else 1 << 62

    def rank(self, slots: list[int], user: Vector | None, k: int) -> Ranked:
        """Slots of n items (0 = unknown) -> k covers each, by score.

        For a share `exploration` of the items, a uniformly drawn cover is put first (ε-greedy).
        propensity: the probability that the cover is put first, 1 − ε + ε/n for the best of n and ε/n for any other.
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
            picks = scores.argmax(1)
        else:
            picks = (-scores).argsort(1, kind="stable")[:, :k].ravel()
            best, first = first, self._others.take(counts).repeat(k)
            first[::k] = best
        if self._until_explored < len(slots):
            self._explore(picks, first, slots, k)
        self._until_explored -= len(slots)
        starts = np.arange(0, scores.size, pools.width)  # of each row in the flat scores, as `chosen` in the flat pools
        chosen *= pools.width
        if k > 1:
            starts, chosen = starts.repeat(k), chosen.repeat(k)
        starts += picks
        chosen += picks
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

    def _explore(self, picks: Any, propensity: Vector, slots: list[int], k: int) -> None:
        """For explored items: the drawn cover swaps with the first, or replaces it if it is not among the k."""
        row = self._until_explored
        while row < len(slots):
            count, start = self._pools.counts.item(slots[row]), row * k
            choice = int(self._random.random() * count)
            if count and picks.item(start) != choice:
                for i in range(start + 1, start + k):
                    if picks[i] == choice:
                        picks[i], propensity[i] = picks[start], propensity[start]
                picks[start], propensity[start] = choice, self._exploration / count
            row += 1 + self._gap()
        self._until_explored = row

    def _gap(self) -> int:
        """Items before the next explored one: geometric, so that each item is explored independently with probability ε."""
        return int(math.log(1 - self._random.random()) * self._scale)
