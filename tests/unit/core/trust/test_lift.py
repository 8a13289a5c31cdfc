"""The lift of a cover: relative to its item, shrunk, and borrowed from near covers."""

import numpy as np
import pytest
from eyecatch.core.trust.evidence import Counts
from eyecatch.core.trust.lift import LENT, OWN, borrowed, expected, log_lift

NONE = np.zeros((1, 3))


def test_expected_clicks_are_those_of_the_items_rate() -> None:
    clicks, hoped = expected(["a", "a", "b"], [Counts(1000, 100), Counts(1000, 0), Counts()])
    assert clicks.tolist() == [100, 0, 0]
    assert hoped[0] == hoped[1] == pytest.approx(50, rel=0.01)
    assert hoped[2] == 0


def test_clicks_without_impressions_count_as_seen() -> None:
    clicks, hoped = expected(["a"], [Counts(0, 7)])
    assert clicks[0] == 7
    assert 0 < hoped[0] <= 7


def test_a_lucky_start_is_no_lift() -> None:
    one = log_lift(np.array([1.0, 100.0]), np.array([0.05, 5.0]), np.ones(2))
    assert one[0] < 0.1
    assert one[1] > 1.9


def test_the_nearest_lends_most_and_the_last_nothing() -> None:
    dots = np.array([[0.9, 0.7, 0.5]], np.float32)
    lift = {n: float(borrowed(dots, 200 * np.eye(3)[n : n + 1], 100 * np.eye(3)[n : n + 1])[0]) for n in range(3)}
    assert lift[0] > lift[1] > lift[2] == 1.0
    assert lift[0] == pytest.approx((200 * LENT + OWN) / (100 * LENT + OWN))


def test_without_anybody_near_the_lift_is_one() -> None:
    nobody = np.full((1, 3), -np.inf, np.float32)
    assert borrowed(nobody, NONE, NONE).tolist() == [1.0]
    alone = np.array([[0.8, -np.inf, -np.inf]], np.float32)
    assert borrowed(alone, NONE + 50, NONE + 10)[0] == pytest.approx((50 * LENT + OWN) / (10 * LENT + OWN))
