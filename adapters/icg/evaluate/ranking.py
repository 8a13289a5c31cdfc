"""Figures of rankings of all items: recall, NDCG, reciprocal rank, coverage, with paired bootstrap intervals. numpy only.

A ranker's figures are kept user by user, so that two rankers can be compared on the same users. Nothing is sampled: every item that a user
does not know has a rank. Items of equal scores are ordered by their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from icg.data.interactions import Split

Scorer = Callable[[np.ndarray], np.ndarray]
"""Users (B,) -> scores of all items (B, items), a new float array, higher is better; -inf for an item that is never recommended."""
BATCH = 256
"""Users scored at once, fewer if their scores are more than CELLS numbers."""
CELLS = 1 << 22
GROUP = 32
"""Items of which the best is compared first, when the first items of a user are looked for."""
ROUNDS = 2_000
"""Bootstrap samples of users."""
PARTS = 10_000
"""Of more users than twice this, samples are drawn of so many parts of users: their means vary as those of users do."""
DRAWS = 1_000_000
"""Users or parts of users drawn at once, for the memory."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """rank (H,): place of each hidden item among the items its user does not know, 1 is first, 0 for an item that is never recommended;
    order as in Split.hidden. top (Q, K): the first K items of each user, -1 where fewer were left."""

    rank: np.ndarray
    top: np.ndarray


@dataclass(frozen=True, eq=False)
class UserBlock:
    """Some users of a split of `items` items: users (B,), user n's known items known[known_ends[n]..known_ends[n + 1]], hidden alike."""

    items: int
    users: np.ndarray
    known: np.ndarray
    known_ends: np.ndarray
    hidden: np.ndarray
    ends: np.ndarray


def blocks(split: Split, size: int) -> Iterator[UserBlock]:
    """All users of the split, `size` at a time, in order."""
    start, known = split.known.start, split.known.item
    for first in range(0, len(split.users), size):
        users = split.users[first : first + size]
        counts = start[users + 1] - start[users]
        known_ends = np.concatenate([[0], np.cumsum(counts)])
        rows = np.arange(known_ends[-1]) + np.repeat(start[users] - known_ends[:-1], counts)
        ends = split.ends[first : first + size + 1]
        yield UserBlock(
            split.known.items, users, known[rows], known_ends, split.hidden[ends[0] : ends[-1]], ends - ends[0]
        )


def ranks_of(split: Split, scorer: Scorer, depth: int, among: np.ndarray | None = None) -> Ranks:
    """among (items,) bool: rank only these items, for hidden items outside of it the rank is 0. Raises ValueError for scores of NaN."""
    return joined([ranks_in(block, scorer, depth, among) for block in blocks(split, BATCH)], depth)


def joined(parts: Sequence[Ranks], depth: int) -> Ranks:
    """The ranks of blocks that follow one another."""
    nothing = Ranks(np.zeros(0, np.int32), np.zeros((0, depth), np.int32))
    return Ranks(
        np.concatenate([nothing.rank, *(part.rank for part in parts)]),
        np.concatenate([nothing.top, *(part.top for part in parts)]),
    )


def ranks_in(block: UserBlock, scorer: Scorer, depth: int, among: np.ndarray | None = None) -> Ranks:
    """As ranks_of, of the users of a block. Nothing is sorted but the first items: a place is the number of items before it."""
    ranks = np.zeros(len(block.hidden), np.int32)
    tops = np.full((len(block.users), depth), -1, np.int32)
    counts, step = np.diff(block.known_ends), int(np.clip(CELLS // max(block.items, 1), 1, BATCH))
    for first in range(0, len(block.users), step):
        users = block.users[first : first + step]
        table = scorer(users)
        rows = np.repeat(np.arange(len(users)), counts[first : first + len(users)])
        table[rows, block.known[block.known_ends[first] : block.known_ends[first + len(users)]]] = -np.inf
        if among is not None:
            table[:, ~among] = -np.inf
        least = _bound(table, depth)
        for n, scores in enumerate(table, first):
            items = np.flatnonzero(scores >= least[n - first])
            items = items[scores[items] > -np.inf]
            order = items[np.argsort(-scores[items], kind="stable")][:depth]
            tops[n, : len(order)] = order
            for at in range(block.ends[n], block.ends[n + 1]):
                item = block.hidden[at]
                if (score := scores[item]) > -np.inf:
                    # Of equal scores those before the item count.
                    before = np.count_nonzero(scores[:item] >= score)
                    ranks[at] = 1 + before + np.count_nonzero(scores[item + 1 :] > score)
    return Ranks(ranks, tops)


def _bound(table: np.ndarray, depth: int) -> np.ndarray:
    """(B,): a score that at least `depth` items of each row (B, items) reach: as many groups have such an item. ValueError for NaN."""
    width = -(-table.shape[1] // GROUP)
    best = table[:, :width].copy()
    for first in range(width, table.shape[1], width):
        group = table[:, first : first + width]
        np.maximum(best[:, : group.shape[1]], group, out=best[:, : group.shape[1]])
    if np.isnan(best).any():
        raise ValueError("a ranker gave scores of NaN; allowed: numbers or -inf")
    if width < depth:
        return np.full(len(table), -np.inf)
    bound: np.ndarray = np.partition(best, width - depth, axis=1)[:, width - depth]
    return bound


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
    return ratio_interval(values, np.ones(len(values)), seed)


def ratio_interval(totals: np.ndarray, counts: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """As interval, of the sum of `totals` (Q,) over the sum of `counts` (Q,), each of a user. Zeros where nothing is counted."""
    if not len(totals) or not counts.sum():
        return 0.0, 0.0, 0.0
    low, high = np.quantile(ratios(totals, counts, seed), [0.025, 0.975])
    return float(totals.sum() / counts.sum()), float(low), float(high)


def ratios(totals: np.ndarray, counts: np.ndarray, seed: int = 0) -> np.ndarray:
    """(ROUNDS,): the ratio in each bootstrap sample of users, the same samples for the same seed and number of users."""
    rng = np.random.default_rng(seed)
    if len(totals) > 2 * PARTS:
        part = rng.permutation(len(totals)) % PARTS
        totals, counts = np.bincount(part, totals), np.bincount(part, counts)
    rows = max(1, min(ROUNDS, DRAWS // len(totals)))
    draws = (rng.integers(0, len(totals), (min(rows, ROUNDS - n), len(totals))) for n in range(0, ROUNDS, rows))
    sums = [(totals[users].sum(axis=1), counts[users].sum(axis=1)) for users in draws]
    return np.concatenate([total / np.maximum(count, 1e-12) for total, count in sums])


def thirds(popularity: np.ndarray) -> np.ndarray:
    """(items,): 0 for items nobody engaged with, then 1 (tail), 2 (middle) and 3 (head), each with a third of all engagements."""
    order = np.argsort(-popularity, kind="stable")
    before = np.cumsum(popularity[order]) - popularity[order]
    bucket = np.empty(len(popularity), np.int64)
    bucket[order] = 3 - np.minimum(3 * before // max(int(popularity.sum()), 1), 2)
    bucket[popularity == 0] = 0
    return bucket
