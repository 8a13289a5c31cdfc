"""Figures of rankings, by hand and against a plain implementation."""

import numpy as np
import pytest
from icg.data.interactions import Interactions, Split, leave_last
from icg.evaluate.ranking import blocks, coverage, figures, interval, joined, ranks_in, ranks_of, thirds


def one_user(hidden: list[int], known: list[int], items: int = 10) -> Split:
    events = [*known, *hidden]
    n = len(events)
    all_wanted = np.ones(n, bool)
    table = Interactions.of(np.zeros(n), np.array(events), np.arange(n), np.full(n, 2), all_wanted, items=items)
    return leave_last(table, len(hidden), n)


def falling(users: np.ndarray) -> np.ndarray:
    """Item 0 first, item 9 last."""
    return np.tile(-np.arange(10.0), (len(users), 1))


def test_known_items_have_no_rank() -> None:
    split = one_user([3, 5], known=[0, 1])
    ranks = ranks_of(split, falling, 4)
    assert ranks.rank.tolist() == [2, 4]
    assert ranks.top.tolist() == [[2, 3, 4, 5]]


def test_figures_by_hand() -> None:
    split = one_user([3, 5], known=[0, 1])
    table = figures(split, ranks_of(split, falling, 4), (1, 2, 4))
    assert [table[f"recall@{k}"][0] for k in (1, 2, 4)] == [0, 0.5, 1]
    ideal = 1 + 1 / np.log2(3)
    assert table["ndcg@2"][0] == pytest.approx(1 / np.log2(3) / ideal)
    assert table["ndcg@4"][0] == pytest.approx((1 / np.log2(3) + 1 / np.log2(5)) / ideal)
    assert table["mrr"][0] == 0.5


def test_only_the_chosen_hidden_items_count() -> None:
    split = one_user([3, 5], known=[0, 1])
    ranks = ranks_of(split, falling, 4)
    table = figures(split, ranks, (2,), np.array([False, True]))
    assert (table["recall@2"][0], table["mrr"][0]) == (0, 0.25)
    assert np.isnan(figures(split, ranks, (2,), np.zeros(2, bool))["recall@2"][0])


def test_among_some_items_others_have_no_place() -> None:
    split = one_user([3, 5], known=[0, 1])
    among = np.zeros(10, bool)
    among[[4, 5]] = True
    ranks = ranks_of(split, falling, 4, among)
    assert ranks.rank.tolist() == [0, 2]
    assert ranks.top.tolist() == [[4, 5, -1, -1]]


def test_equal_scores_are_ordered_by_number_and_nan_is_refused() -> None:
    split = one_user([3, 5], known=[0, 1])
    assert ranks_of(split, lambda users: np.zeros((len(users), 10)), 2).rank.tolist() == [2, 4]
    with pytest.raises(ValueError, match="NaN"):
        ranks_of(split, lambda users: np.full((len(users), 10), np.nan), 2)


def test_an_item_without_a_score_is_never_recommended() -> None:
    split = one_user([3, 5], known=[0, 1])
    scores = np.where(np.arange(10) == 3, -np.inf, -np.arange(10.0))[None]
    ranks = ranks_of(split, lambda users: scores, 9)
    assert ranks.rank.tolist() == [0, 3]
    assert ranks.top[0].tolist() == [2, 4, 5, 6, 7, 8, 9, -1, -1]
    assert figures(split, ranks, (10,))["recall@10"][0] == 0.5


def test_a_paired_difference_has_a_narrower_interval_than_its_parts() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    one, two = hard + 0.05, hard + rng.normal(0, 0.02, 300)
    _, low, high = interval(one - two)
    assert low > 0
    assert high - low < 0.01
    assert interval(one)[1] < interval(two)[2]  # unpaired, they overlap


def test_an_interval_of_nobody_is_zero() -> None:
    assert interval(np.array([np.nan, np.nan])) == (0, 0, 0)


def test_coverage_counts_items_that_somebody_is_shown() -> None:
    split = one_user([3, 5], known=[0, 1])
    assert coverage(ranks_of(split, falling, 4), 2, 10) == 0.2


def test_thirds_hold_equal_shares_of_all_engagements() -> None:
    popularity = np.array([30, 10, 10, 10, 6, 6, 6, 6, 6, 0])
    assert thirds(popularity).tolist() == [3, 2, 2, 2, 1, 1, 1, 1, 1, 0]


def plain_ranks(split: Split, table: np.ndarray, depth: int) -> tuple[list[int], list[list[int]]]:
    """By sorting all items of each user."""
    ranks, tops = [], []
    start = split.known.start
    for n, user in enumerate(split.users):
        known = set(split.known.item[start[user] : start[user + 1]].tolist())
        order = sorted((i for i in range(table.shape[1]) if i not in known), key=lambda i: (-table[user, i], i))
        ranks += [order.index(item) + 1 for item in split.of(n)]
        tops.append(order[:depth] + [-1] * (depth - len(order)))
    return ranks, tops


@pytest.mark.parametrize(("items", "depth", "values"), [(40, 20, 1000), (700, 20, 1000), (700, 20, 5), (997, 3, 40)])
def test_ranks_are_those_of_a_full_sort_with_many_ties(items: int, depth: int, values: int) -> None:
    rng = np.random.default_rng(items)
    users, events = 300, 12
    item = np.concatenate([rng.permutation(items)[:events] for _ in range(users)])
    user = np.repeat(np.arange(users), events)
    table = Interactions.of(
        user, item, rng.random(len(user)), np.full(len(user), 2), np.ones(len(user), bool), users, items
    )
    split = leave_last(table, 3, 5)
    scores = rng.integers(0, values, (users, items)).astype(np.float32)
    ranks = ranks_of(split, lambda users: scores[users], depth)
    assert (ranks.rank.tolist(), ranks.top.tolist()) == plain_ranks(split, scores, depth)
    assert len(list(blocks(split, 7))) == -(-users // 7)
    parts = joined([ranks_in(block, lambda users: scores[users], depth) for block in blocks(split, 7)], depth)
    assert (parts.rank.tolist(), parts.top.tolist()) == (ranks.rank.tolist(), ranks.top.tolist())


def test_the_interval_of_many_users_is_that_of_their_mean() -> None:
    """Drawn in parts; the normal approximation is exact for so many."""
    values = np.random.default_rng(3).exponential(1.0, 100_003)
    mean, low, high = interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (low, high) == (pytest.approx(mean - half, abs=0.05 * half), pytest.approx(mean + half, abs=0.05 * half))
