"""The permutation test of personalisation on constructed scores: what it must find, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest
from icg.errors import IcgError
from icg.evaluate.permutation import CoverScores, bootstrap, permutation_test, permuted, tables

from tests.unit.icg.evaluate.binomial import bounds


def complete(covers: np.ndarray, users: np.ndarray) -> CoverScores:
    """covers (units, U, D) for users (U, D) -> scores by dot product."""
    units, people, width = covers.shape
    flat = covers.reshape(-1, width)
    return CoverScores(np.repeat(np.arange(units), people), np.tile(np.arange(people), units), flat @ users.T)


def world(seed: int, follows: float, units: int = 4, people: int = 10) -> CoverScores:
    """Covers are noise, and `follows` times the vector of the user they are drawn for."""
    rng = np.random.default_rng(seed)
    users = rng.normal(size=(people, 6))
    return complete(rng.normal(size=(units, people, 6)) + follows * users, users)


def test_covers_that_follow_their_users_have_a_small_p() -> None:
    result = permutation_test(world(0, 1.0), 999)
    assert result.p == result.least_p == 0.001
    assert result.low > 0.6
    assert result.low < result.effect < result.high
    assert (result.users, result.units, result.covers, result.left_out) == (10, 4, 40, 0)


def test_covers_that_avoid_their_users_have_a_large_p() -> None:
    result = permutation_test(world(0, -1.0), 999)
    assert result.p > 0.99
    assert result.high < 0.5


def test_p_is_uniform_when_covers_are_exchangeable() -> None:
    p = np.sort([permutation_test(world(seed, 0.0), 199).p for seed in range(200)])
    for share in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95):  # p is a multiple of 1/200: each share is exact
        low, high = bounds(200, share)
        assert low <= (p <= share).sum() <= high


def test_a_style_that_a_user_gets_in_every_item_is_not_many_proofs() -> None:
    """A generator that gives each user one arbitrary style: permuting in each item by itself would find it significant far too often."""

    def styled(seed: int) -> CoverScores:
        rng = np.random.default_rng(seed)
        style, users = rng.normal(size=(10, 6)), rng.normal(size=(10, 6))
        return complete(np.repeat(style[None], 30, 0) + 0.1 * rng.normal(size=(30, 10, 6)), users)

    p = np.array([permutation_test(styled(seed), 199).p for seed in range(100)])
    assert (p <= 0.05).sum() <= bounds(100, 0.05)[1]
    assert abs(p.mean() - 0.5) < 5 / np.sqrt(12 * 100)  # five deviations of the mean of uniform numbers


def test_effects_of_items_and_of_users_change_nothing() -> None:
    one = world(3, 0.3)
    rng = np.random.default_rng(1)
    shifts = 100 * rng.normal(size=4)[one.unit][:, None] + 100 * rng.normal(size=10)
    per_item = 100 * rng.normal(size=(4, 10))[one.unit]  # how much each user likes each item
    shifted = CoverScores(one.unit, one.user, np.round(one.score, 6) + np.round(shifts + per_item, 6))
    plain = CoverScores(one.unit, one.user, np.round(one.score, 6))
    assert permutation_test(shifted, 499) == permutation_test(plain, 499)


def test_covers_that_everybody_likes_have_an_effect_of_exactly_half() -> None:
    quality = np.random.default_rng(0).normal(size=(5, 9))
    result = permutation_test(CoverScores(*places(5, 9), np.repeat(quality.reshape(-1, 1), 9, 1)), 99)
    assert (result.effect, result.p) == (0.5, 1.0)


def places(units: int, people: int) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(np.arange(units), people), np.tile(np.arange(people), units)


def test_equal_covers_are_ties() -> None:
    result = permutation_test(CoverScores(*places(3, 8), np.ones((24, 8))), 99)
    assert (result.effect, result.p, result.low, result.high) == (0.5, 1.0, 0.5, 0.5)


def test_the_effect_is_the_mean_over_pairs() -> None:
    one = world(5, 0.4, units=2, people=8)
    score = one.score.reshape(2, 8, 8)
    pairs = [score[k, i, i] > score[k, j, i] for k in range(2) for i in range(8) for j in range(8) if i != j]
    assert permutation_test(one, 9).effect == pytest.approx(np.mean(pairs))
    labels, wins, both = tables(one)
    assert np.trace(labels) == wins.sum() == np.sum(pairs)
    assert both.sum() == len(pairs)
    assert np.trace(labels[[1, 0, *range(2, 8)]]) == pytest.approx(permuted_trace(score, [1, 0, *range(2, 8)]))


def permuted_trace(score: np.ndarray, order: list[int]) -> float:
    """The statistic computed anew after cover order[i] of each item went to user i."""
    return sum(
        float(score[k, order[i], i] > score[k, order[j], i]) for k in range(2) for i in range(8) for j in range(8)
    )


def test_users_are_exchanged_only_for_those_with_the_same_items() -> None:
    """Two panels of users with their own items: labels between them are never used, whatever they hold."""
    labels = np.zeros((8, 8))
    labels[:4, 4:] = labels[4:, :4] = 1e9
    traces = permuted(labels, [np.arange(4), np.arange(4, 8)], 200, np.random.default_rng(0))
    assert (traces == 0).all()
    unit, user = np.array([0] * 4 + [1] * 4), np.arange(8)
    result = permutation_test(CoverScores(unit, user, np.eye(8)), 9999)
    assert result.effect == 1.0
    assert result.least_p == pytest.approx(1 / 24**2)
    # Of the permutations only those have this effect that leave every user in place: 1 of 24 in each panel.
    low, high = bounds(9999, 1 / 24**2)
    assert low <= round(result.p * 10_000) - 1 <= high


def test_a_user_with_items_of_nobody_else_is_left_out() -> None:
    one = world(0, 1.0)
    unit, user = np.append(one.unit, 9), np.append(one.user, 10)
    score = np.pad(one.score, ((0, 1), (0, 1)))
    result = permutation_test(CoverScores(unit, user, score), 99)
    assert (result.users, result.left_out, result.covers) == (10, 1, 40)


def test_the_interval_has_about_its_level() -> None:
    """The share of an effect known from many users lies in most intervals of few."""
    truth = np.mean([permutation_test(world(seed, 0.3, people=40), 1).effect for seed in range(20)])
    rng = np.random.default_rng(0)
    inside = [low <= truth <= high for low, high in (bootstrap(*tables(world(s, 0.3))[1:], rng) for s in range(60))]
    assert np.mean(inside) > 0.75


@pytest.mark.parametrize(
    ("permutations", "people", "message"),
    [
        (0, 8, r"permutations=0; allowed: 1 or more"),
        (9, 7, r"users=7 who have covers of the same items as another, of 7; allowed: 8 or more"),
        (9, 1, r"users=0 who have covers of the same items as another, of 1; allowed: 8 or more"),
    ],
)
def test_too_few_are_refused(permutations: int, people: int, message: str) -> None:
    with pytest.raises(IcgError, match=message):
        permutation_test(world(0, 1.0, people=people), permutations)


def test_scores_that_are_no_table_are_refused() -> None:
    zeros = np.zeros(2, int)
    for unit, user, score, message in (
        (zeros, zeros, np.zeros((2, 1)), "two covers of one item"),
        (zeros, np.arange(2), np.zeros((2, 1)), "user=1; allowed: 0 to 0"),
        (zeros, np.arange(2), np.full((2, 2), np.nan), "NaN"),
        (zeros, np.arange(3), np.zeros((2, 2)), "shapes"),
    ):
        with pytest.raises(IcgError, match=message):
            CoverScores(unit, user, score)
