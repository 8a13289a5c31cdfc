"""Scores and choices for the items of one request: one gather, one product, one argmax. Knows no store and no wire."""

import random
from dataclasses import dataclass

import numpy as np

from eyecatch.core.pools import Pools
from eyecatch.core.types import Vector


@dataclass(eq=False, slots=True)
class Ranked:
    """The chosen covers of n items for one user.

    Row i shows counts[i] <= k covers, best first. order (places in the item's pool), scores, dots (raw preference), preference (its
    contribution to the score) and propensity are flat: entry i * k + j is cover j of row i.
    """

    slots: list[int]
    k: int
    counts: list[int]
    order: list[int]
    scores: list[float]
    dots: list[float]
    preference: list[float]
    propensity: list[float]


class Ranker:
    """rank() scores and chooses; `exploration` is the share of items whose first cover is drawn from the whole pool."""

    def __init__(self, pools: Pools, exploration: float, seed: int | None = None) -> None:
        self._pools = pools
        self._exploration = exploration
        self._random = random.Random(seed)
        self._weights = np.zeros(pools.rows.shape[-1], np.float32)

    def rank(self, slots: list[int], user: Vector | None, k: int, explore: bool = True) -> Ranked:
        """Slots of n items (−1 = unknown) -> k covers each.

        The order is by score; then, for a share `exploration` of the items, a uniformly drawn cover is put first (ε-greedy).
        propensity is the probability of the cover to be put first: 1 − ε + ε/n for the best of n, ε/n for any other.
        """
        pools = self._pools
        rows = pools.rows.take(slots, axis=0)  # (n, P, D + 1)
        width = rows.shape[1]
        weights = self._weights
        if user is None:
            gain = 0.0
            weights[:-1] = 0.0
        else:
            gain = pools.scoring.preference.weight / pools.scoring.preference.deviation
            np.multiply(user, gain, out=weights[:-1])
        weights[-1] = 1.0
        flat = rows.reshape(-1, len(weights)) @ weights
        grid = flat.reshape(-1, width)
        best = grid.argmax(axis=1)[:, None] if k == 1 else (-grid).argsort(axis=1, kind="stable")[:, :k]
        order = best.ravel().tolist()
        epsilon = self._exploration if explore else 0.0
        ids = pools.ids
        filled = [len(ids[s]) if s >= 0 else 0 for s in slots]
        propensity = self._explore(order, filled, k, epsilon)
        at = [row // k * width + place for row, place in enumerate(order)]
        scores = flat.take(at).tolist()
        base = pools.base
        stored = [
            base[s][place] if place < len(base[s]) else 0.0 for s, place in zip(_each(slots, k), order, strict=True)
        ]
        offset = gain * pools.scoring.preference.mean
        preference = [score - part - offset for score, part in zip(scores, stored, strict=True)]
        if offset:
            scores = [score - offset for score in scores]
        dots = [(part + offset) / gain for part in preference] if gain else preference
        return Ranked(slots, k, [min(k, n) for n in filled], order, scores, dots, preference, propensity)

    def _explore(self, order: list[int], filled: list[int], k: int, epsilon: float) -> list[float]:
        """Draw the explored first places into `order`; returns the propensity of every cover in it."""
        draw = self._random.random
        propensity = [0.0] * len(order)
        for row, n in enumerate(filled):
            if n == 0:
                continue
            start, each = row * k, epsilon / n
            propensity[start : start + k] = [1.0 - epsilon + each] + [each] * (k - 1)
            if epsilon and draw() < epsilon:
                place = int(draw() * n)
                first = order[start]
                if place in order[start : start + k]:
                    i = order.index(place, start, start + k)
                    order[i], propensity[i] = first, propensity[start]
                order[start], propensity[start] = place, 1.0 - epsilon + each if place == first else each
        return propensity


def _each(slots: list[int], k: int) -> list[int]:
    return slots if k == 1 else [s for s in slots for _ in range(k)]
