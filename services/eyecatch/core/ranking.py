"""Scores and choices for the items of one request: one gather, one product, one argmax. Knows no store and no wire."""

import random
from dataclasses import dataclass

import numpy as np

from eyecatch.core.pools import Pools
from eyecatch.core.types import Vector


@dataclass(eq=False, slots=True)
class Ranked:
    """The chosen covers of n items for one user.

    Row i shows counts[i] <= k covers, best first. order (places in the item's pool), scores and propensity are flat: entry
    i * k + j is cover j of row i. Of a score, what is not stored is preference: `gain` × dot product − `offset`.
    """

    slots: list[int]
    k: int
    counts: list[int]
    order: list[int]
    scores: list[float]
    propensity: list[float]
    gain: float
    offset: float

    def parts(self, score: float, stored: float) -> tuple[float, float]:
        """(dot product with the user embedding, contribution of the preference) of a score whose stored part is given."""
        contribution = score - stored
        return (contribution + self.offset) / self.gain if self.gain else 0.0, contribution


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
        spec, weights = pools.scoring.preference, self._weights
        gain = spec.weight / spec.deviation if user is not None else 0.0
        offset = gain * spec.mean
        np.multiply(0.0 if user is None else user, gain, out=weights[:-1])
        weights[-1] = 1.0
        grid = (rows.reshape(-1, len(weights)) @ weights).reshape(len(slots), -1)
        counts = pools.counts
        filled = [counts[s] if s >= 0 else 0 for s in slots]
        epsilon = self._exploration if explore else 0.0
        if k == 1:
            order = grid.argmax(axis=1).tolist()
            scores = np.maximum.reduce(grid, axis=1).tolist()
            propensity = [1.0 - epsilon + epsilon / (n or 1) for n in filled]
            shown = [1 if n else 0 for n in filled]
        else:
            columns = (-grid).argsort(axis=1, kind="stable")[:, :k]
            order = columns.ravel().tolist()
            scores = np.take_along_axis(grid, columns, axis=1).ravel().tolist()
            propensity = [
                p for n in filled for p in [1.0 - epsilon + epsilon / (n or 1)] + [epsilon / (n or 1)] * (k - 1)
            ]
            shown = [min(k, n) for n in filled]
        ranked = Ranked(slots, k, shown, order, scores, propensity, gain, offset)
        draw = self._random.random
        for row, n in enumerate(filled):
            if epsilon and n and draw() < epsilon:
                self._put_first(ranked, grid[row], row * k, int(draw() * n), epsilon / n)
        if offset:
            ranked.scores = [score - offset for score in ranked.scores]
        return ranked

    def _put_first(self, ranked: Ranked, scores: Vector, start: int, place: int, each: float) -> None:
        """Let the cover at `place` change places with the first, or push it out if it was not among the k."""
        order, propensity = ranked.order, ranked.propensity
        if order[start] == place:
            return
        for i in range(start + 1, start + ranked.k):
            if order[i] == place:
                order[i], propensity[i], ranked.scores[i] = order[start], propensity[start], ranked.scores[start]
        order[start], propensity[start], ranked.scores[start] = place, each, float(scores[place])
