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
    """Scores and chooses.

    exploration: the share of items whose first cover is drawn from all that every user may see. trial_share: the share of items
    with covers on trial whose first cover is one of these; no other place has one.
    """

    def __init__(self, pools: Pools, exploration: float, seed: int | None = None, trial_share: float = 0.0) -> None:
        self._pools = pools
        self._exploration, self._trial_share = exploration, trial_share
        self._random = random.Random(seed)
        spec = pools.scoring.preference
        self._gain = np.float32(spec.weight / spec.deviation)
        self._offset = self._gain * np.float32(spec.mean)
        self._weights = np.ones(pools.rows.shape[-1], np.float32)
        self._taste = self._weights[:-1]
        counts = np.maximum(np.arange(pools.width + 1), 1)
        # By `Pools.chances`: the probabilities that the best cover, and any other one but those on trial, is put first.
        others = exploration / counts
        by_trial = np.array([[1.0], [1 - trial_share]])
        self._others = (by_trial * others).ravel().astype(np.float32)
        self._best = (by_trial * (others + 1 - exploration)).ravel().astype(np.float32)
        self._explored_gap, self._tried_gap = Gap(exploration, self._random), Gap(trial_share, self._random)
        self._until_explored, self._until_tried = self._explored_gap(), self._tried_gap()
        self.ranked = self.explored = self.tried = 0
        """Items so far: all, those whose first cover was drawn from the pool, and those that showed a cover on trial."""

    def rank(self, slots: list[int], user: Vector | None, k: int) -> Ranked:
        """Slots of n items (0 = unknown) -> k covers each, by score.

        For a share ε (`exploration`) of the items, a uniformly drawn cover is put first (ε-greedy), and for a share τ (`trial_share`) of
        those with m covers on trial, a uniformly drawn one of these.
        propensity: the probability that the cover is put first, 1 − ε + ε/n for the best of n and ε/n for any other, both times 1 − τ
        beside a trial; τ/m on trial.
        """
        pools, chosen = self._pools, np.array(slots)
        if user is None:
            self._taste.fill(0.0)
        else:
            np.multiply(user, self._gain, out=self._taste)
        rows = pools.rows.take(chosen, 0)  # (n, P, D + 1)
        scores = rows.reshape(-1, rows.shape[-1]).dot(self._weights).reshape(len(slots), -1)
        chances = pools.chances.take(chosen)
        first = self._best.take(chances)
        if k == 1:
            picks = scores.argmax(1)
        else:
            picks = (-scores).argsort(1, kind="stable")[:, :k].ravel()
            best, first = first, self._others.take(chances).repeat(k)
            first[::k] = best
        if self._until_explored < len(slots):
            self._explore(picks, first, slots, k)
        self._until_explored -= len(slots)
        self.ranked += len(slots)
        tried = self._try(picks, first, slots, k) if self._until_tried < len(slots) else ()
        self._until_tried -= len(slots)
        starts = np.arange(0, scores.size, pools.width)  # of each row in the flat scores, as `chosen` in the flat pools
        chosen *= pools.width
        if k > 1:
            starts, chosen = starts.repeat(k), chosen.repeat(k)
        starts += picks
        chosen += picks
        top = scores.take(starts)
        for row in tried:  # the row of a cover on trial has no base, so that it never has the best score
            cover = chosen[row * k]
            top[row * k] = rows[row, picks[row * k], :-1].dot(self._taste) + pools.base.take(cover)
        contributions = top - pools.base.take(chosen)
        if user is None or not self._gain:
            dots = np.zeros_like(top)
        else:
            dots = contributions / self._gain
            if self._offset:
                top -= self._offset
                contributions -= self._offset
        return Ranked(k, k == 1 and pools.incomplete.isdisjoint(slots), chosen, top, dots, contributions, first)

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
                picks[start], propensity[start] = choice, self._others.item(self._pools.chances.item(slots[row]))
            self.explored += 1
            row += 1 + self._explored_gap()
        self._until_explored = row

    def _try(self, picks: Any, propensity: Vector, slots: list[int], k: int) -> list[int]:
        """Put a cover on trial first for the items that are drawn for it; returns their rows."""
        tried = []
        row = self._until_tried
        while row < len(slots):
            trials = self._pools.trials.item(slots[row])
            if trials:
                place = self._pools.counts.item(slots[row]) + int(self._random.random() * trials)
                picks[row * k], propensity[row * k] = place, self._trial_share / trials
                tried.append(row)
                self.tried += 1
            row += 1 + self._tried_gap()
        self._until_tried = row
        return tried


class Gap:
    """Items before the next one that is drawn: geometric, so that each is drawn independently with probability `share`."""

    def __init__(self, share: float, source: random.Random) -> None:
        self._random = source
        self._scale = 1 / math.log1p(-min(share, 1 - 1e-12)) if share else 0.0

    def __call__(self) -> int:
        return int(math.log(1 - self._random.random()) * self._scale) if self._scale else 1 << 62
