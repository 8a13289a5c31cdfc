"""Figures of rankings of all items: recall, NDCG, reciprocal rank, coverage, with paired bootstrap intervals. numpy only.

A ranker's figures are kept user by user, so that two rankers can be compared on the same users. Nothing is sampled: every item that a user
does not know has a rank. Items of equal scores are ordered by their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from icg.data.interactions import Split

Scorer = Callable[[np.ndarray], np.ndarray]
"""Users (B,) -> scores of all items (B, items), float, higher is better; -inf for an item that is never recommended."""
BATCH = 256
"""Users scored at once."""
ROUNDS = 2_000
"""Bootstrap samples of users."""
DRAWS = 1_000_000
"""Users drawn at once, for the memory."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """rank (H,): place of each hidden item among the items its user does not know, 1 is first, 0 for an item that is never recommended;
    order as in Split.hidden. top (Q, K): the first K items of each user, -1 where fewer were left."""

    rank: np.ndarray
    top: np.ndarray


def ranks_of(split: Split, scorer: Scorer, depth: int, among: np.ndarray | None = None) -> Ranks:
    """among (items,) bool: rank only these items, for hidden items outside of it the rank is 0. Raises ValueError for scores of NaN."""
    known, start = split.known, split.known.start
    ranks, tops = np.zeros(len(split.hidden), np.int64), np.full((len(split.users), depth), -1, np.int64)
    for first in range(0, len(split.users), BATCH):
        users = split.users[first : first + BATCH]
        table = np.array(scorer(users), np.float64)
        if np.isnan(table).any():
            raise ValueError("a ranker gave scores of NaN; allowed: numbers or -inf")
        for n, user in enumerate(users, first):
            scores = table[n - first]
            free = np.ones(len(scores), bool) if among is None else among.copy()
            free[known.item[start[user] : start[user + 1]]] = False
            items = np.flatnonzero(free & (scores > -np.inf))
            order = items[np.argsort(-scores[items], kind="stable")]
            tops[n, : len(order[:depth])] = order[:depth]
            place = np.zeros(len(scores), np.int64)
            place[order] = np.arange(1, len(order) + 1)
            ranks[split.ends[n] : split.ends[n + 1]] = place[split.of(n)]
    return Ranks(ranks, tops)


def figures(split: Split, ranks: Ranks, ks: Sequence[int], chosen: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """(Q,) values by name: "recall@K", "ndcg@K" and "mrr". chosen (H,) bool: count these hidden items only; users without any are NaN."""
    use = np.ones(len(ranks.rank), bool) if chosen is None else chosen
    owner = np.repeat(np.arange(len(split.users)), np.diff(split.ends))
    count = np.bincount(owner[use], minlength=len(split.users)).astype(float)
    empty = count == 0
    total = np.where(empty, 1, count)
    hit = use & (ranks.rank > 0)

    def per_user(values: np.ndarray) -> np.ndarray:
        return np.bincount(owner[hit], values, minlength=len(split.users))

    def blank(values: np.ndarray) -> np.ndarray:
        return np.where(empty, np.nan, values)

    rank = ranks.rank[hit]
    gain = 1 / np.log2(rank + 1)
    ideal = np.concatenate([[0], np.cumsum(1 / np.log2(np.arange(2, max(int(total.max(initial=1)), *ks) + 2)))])
    out = {}
    for k in ks:
        out[f"recall@{k}"] = blank(per_user((rank <= k).astype(float)) / total)
        out[f"ndcg@{k}"] = blank(per_user(gain * (rank <= k)) / ideal[np.minimum(total, k).astype(int)])
    best = np.zeros(len(split.users))
    np.maximum.at(best, owner[hit], 1 / rank)
    out["mrr"] = blank(best)
    return out


def coverage(ranks: Ranks, k: int, items: int) -> float:
    """The share of all items that are among somebody's first k."""
    shown = ranks.top[:, :k]
    return len(np.unique(shown[shown >= 0])) / max(items, 1)


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """(mean, low, high) over users (Q,), NaN left out: the 95 % bootstrap interval. Without users: zeros.

    The same seed draws the same users for all values of one length: the interval of a difference of two rankers is a paired one.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return 0.0, 0.0, 0.0
    rng = np.random.default_rng(seed)
    rows = max(1, min(ROUNDS, DRAWS // len(values)))
    draws = (rng.integers(0, len(values), (min(rows, ROUNDS - n), len(values))) for n in range(0, ROUNDS, rows))
    means = np.concatenate([values[users].mean(axis=1) for users in draws])
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def thirds(popularity: np.ndarray) -> np.ndarray:
    """(items,): 0 for items nobody engaged with, then 1 (tail), 2 (middle) and 3 (head), each with a third of all engagements."""
    order = np.argsort(-popularity, kind="stable")
    before = np.cumsum(popularity[order]) - popularity[order]
    bucket = np.empty(len(popularity), np.int64)
    bucket[order] = 3 - np.minimum(3 * before // max(int(popularity.sum()), 1), 2)
    bucket[popularity == 0] = 0
    return bucket
