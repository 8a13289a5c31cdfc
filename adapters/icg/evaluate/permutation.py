"""A permutation test of personalisation: do users prefer the covers drawn for them to those drawn for others? numpy only.

Knows no model and no picture: it reads a table of scores. Users are permuted as wholes: the covers of a user keep company in all items,
and no cover leaves its item. So effects of items and of covers cancel, and a style that a generator gives a user in every item, whether
the user likes it or not, is not taken for many independent proofs, as it would be with another permutation in each item.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, lgamma

import numpy as np

from icg.errors import IcgError

LEAST_USERS = 8
"""8! orders of users: enough for a p-value below one in ten thousand, and few enough for a small catalogue."""
RESAMPLES, LEVEL = 2_000, 0.95
CHUNK = 4_000_000
"""Numbers of permutations in memory at once."""


@dataclass(frozen=True, eq=False)
class CoverScores:
    """unit (C,): number of the item, and of the noise if an item was drawn with several, of each cover; user (C,): number of the user it
    was drawn for, from 0 to U - 1; score (C, U): preference of each user for each cover, in any unit.

    Raises IcgError for other shapes, for a score that is not finite, and for two covers of one unit and one user.
    """

    unit: np.ndarray
    user: np.ndarray
    score: np.ndarray

    def __post_init__(self) -> None:
        shapes = self.unit.shape, self.user.shape, self.score.shape
        if self.unit.ndim != 1 or self.user.shape != self.unit.shape or self.score.shape[:-1] != self.unit.shape:
            raise IcgError(f"unit, user and score of shapes {shapes}; allowed: (C,), (C,) and (C, U)")
        outside = self.user[(self.user < 0) | (self.user >= self.score.shape[1])]
        if len(outside):
            raise IcgError(f"user={int(outside[0])}; allowed: 0 to {self.score.shape[1] - 1}, as score has columns")
        if not np.isfinite(self.score).all():
            raise IcgError("score with NaN or infinity; allowed: finite numbers")
        if len(np.unique(np.stack([self.unit, self.user]), axis=1).T) != len(self.unit):
            raise IcgError("two covers of one item, noise and user; allowed: one, or each with a seed of its own")

    def of(self, users: np.ndarray) -> CoverScores:
        """The covers and the columns of `users` (numbers), who are numbered anew in this order."""
        number = np.full(self.score.shape[1], -1)
        number[users] = np.arange(len(users))
        rows = number[self.user] >= 0
        return CoverScores(self.unit[rows], number[self.user[rows]], self.score[rows][:, users])

    def blocks(self) -> list[np.ndarray]:
        """Numbers of users who have covers of the same units, by set of units: only they can be exchanged for each other."""
        units = np.unique(self.unit, return_inverse=True)[1]
        has = np.zeros((self.score.shape[1], int(units.max(initial=-1)) + 1), bool)
        has[self.user, units] = True
        group = np.unique(has, axis=0, return_inverse=True)[1].reshape(-1)
        return [np.flatnonzero(group == n) for n in range(int(group.max(initial=-1)) + 1)]


@dataclass(frozen=True)
class PermutationTest:
    """effect: share of pairs, 0 to 1, in which a user prefers the own cover to that of another user of the item, ties a half.

    low, high: 95 % interval by bootstrap over users, for these items. p: share of permutations with an effect at least as large, one added
    to both. least_p: the smallest p that these users and so many permutations can give. left_out: users whom nobody can be exchanged for.
    """

    effect: float
    low: float
    high: float
    p: float
    least_p: float
    users: int
    units: int
    covers: int
    left_out: int = 0


def permutation_test(scores: CoverScores, permutations: int, seed: int = 0) -> PermutationTest:
    """Own against swapped, one-sided. Raises IcgError for fewer than 1 permutation and fewer than LEAST_USERS users with covers of the same
    items as another."""
    if permutations < 1:
        raise IcgError(f"permutations={permutations}; allowed: 1 or more")
    everybody = len(np.unique(scores.user))
    exchangeable = [block for block in scores.of(np.unique(scores.user)).blocks() if len(block) > 1]
    count = sum(map(len, exchangeable))
    if count < LEAST_USERS:
        raise IcgError(
            f"users={count} who have covers of the same items as another, of {everybody}; allowed: {LEAST_USERS} or more"
        )
    scores = scores.of(np.unique(scores.user)[np.sort(np.concatenate(exchangeable))])
    blocks, rng = scores.blocks(), np.random.default_rng((seed, 17))
    labels, wins, pairs = tables(scores)
    total = pairs.sum()
    observed = np.trace(labels)
    null = permuted(labels, blocks, permutations, rng)
    low, high = bootstrap(wins, pairs, rng)
    orders = sum(lgamma(len(block) + 1) for block in blocks)
    return PermutationTest(
        effect=float(observed / total),
        low=low,
        high=high,
        p=float((1 + (null >= observed).sum()) / (1 + permutations)),
        least_p=max(1 / (1 + permutations), exp(-orders)),
        users=count,
        units=len(np.unique(scores.unit)),
        covers=len(scores.unit),
        left_out=everybody - count,
    )


def tables(scores: CoverScores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three (U, U) sums over units.

    labels[i, j]: covers that user j likes less than the one drawn for user i, ties a half; its trace is what is tested.
    wins[i, j]: units in which user i prefers the own cover to that of user j. pairs[i, j]: units in which both have one.
    """
    count = scores.score.shape[1]
    labels, wins, pairs = (np.zeros((count, count)) for _ in range(3))
    order = np.argsort(scores.unit, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(scores.unit[order])) + 1):
        users = scores.user[rows]
        score = scores.score[rows][:, users]  # (G, G): cover, user
        cells = np.ix_(users, users)
        ordered = np.sort(score, axis=0)
        for column, user in enumerate(users):
            below = np.searchsorted(ordered[:, column], score[:, column], "left")
            upto = np.searchsorted(ordered[:, column], score[:, column], "right")
            labels[users, user] += (below + upto - 1) / 2  # a cover ties with itself
        own = np.diag(score)
        against = (own > score).astype(float) + 0.5 * (own == score)  # (cover of j, user i)
        np.fill_diagonal(against, 0)
        wins[cells] += against.T
        pairs[cells] += 1 - np.eye(len(users))
    return labels, wins, pairs


def permuted(labels: np.ndarray, blocks: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) traces of `labels` (U, U) after users were permuted inside their blocks. Sums of halves: exact, so ties are ties."""
    out = np.zeros(count)
    for block in blocks:
        inside, size = labels[np.ix_(block, block)], len(block)
        step = max(1, CHUNK // size)
        for start in range(0, count, step):
            orders = np.tile(np.arange(size), (min(step, count - start), 1))
            out[start : start + step] += inside[rng.permuted(orders, axis=1), np.arange(size)].sum(1)
    return out


def bootstrap(wins: np.ndarray, pairs: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The LEVEL interval of wins over pairs (U, U) when users are resampled, both sides of a pair alike; a user meets no copy of itself."""
    users = len(wins)
    times = rng.multinomial(users, np.full(users, 1 / users), RESAMPLES).astype(float)
    number = ((times @ pairs) * times).sum(1)
    share = ((times @ wins) * times).sum(1)[number > 0] / number[number > 0]
    low, high = np.quantile(share, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
