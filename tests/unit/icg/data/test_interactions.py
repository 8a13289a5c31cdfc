"""Splits of behaviour into what is known and what is hidden."""

import numpy as np
import pytest
from icg.data.interactions import Interactions, by_time, leave_last
from icg.errors import IcgError


def table(rows: list[tuple[int, int, float, bool]]) -> Interactions:
    """(user, item, time, positive)."""
    user, item, time, positive = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions.of(user, item, time, np.full(len(rows), 2), positive)


def test_the_last_wanted_items_are_hidden_with_what_came_after_them() -> None:
    events = table(
        [(0, 1, 1, True), (0, 2, 2, True), (0, 3, 3, True), (0, 4, 4, False), (0, 5, 5, True), (0, 6, 6, False)]
    )
    split = leave_last(events, 2, 3)
    assert (split.users.tolist(), split.of(0).tolist()) == ([0], [3, 5])
    assert split.known.item.tolist() == [1, 2]
    assert split.rows.tolist() == [0, 1]


def test_an_earlier_glance_at_a_hidden_item_is_not_known() -> None:
    events = table([(0, 3, 0, False), (0, 1, 1, True), (0, 3, 2, True), (0, 2, 3, True), (0, 3, 4, True)])
    split = leave_last(events, 1, 3)
    assert split.of(0).tolist() == [3]
    assert split.known.item.tolist() == [1, 2]


def test_equal_times_keep_the_order_of_the_table_and_are_counted() -> None:
    rows = [(0, item, 7.0, True) for item in (5, 2, 9, 1)]
    split = leave_last(table(rows), 1, 2)
    assert split.of(0).tolist() == [1]
    assert split.known.item.tolist() == [5, 2, 9]
    assert split.tied == 1
    assert leave_last(table(rows[::-1]), 1, 2).of(0).tolist() == [5]


def test_a_user_with_too_few_items_is_known_whole() -> None:
    split = leave_last(table([(0, 1, 1, True), (0, 1, 2, True), (1, 1, 1, True), (1, 2, 2, True)]), 1, 2)
    assert split.users.tolist() == [1]
    assert split.known.user.tolist() == [0, 0, 1]


def test_a_split_in_time_hides_what_is_new_to_the_user() -> None:
    events = table(
        [(0, 1, 1, True), (0, 2, 2, True), (0, 1, 9, True), (0, 3, 9, True), (1, 3, 9, True), (1, 3, 10, True)]
    )
    split = by_time(events, 0.3)
    assert split.users.tolist() == [0, 1]
    assert (split.of(0).tolist(), split.of(1).tolist()) == ([1, 3], [3]) or split.of(0).tolist() == [2, 3]
    assert split.known.time.max() < 2.5


@pytest.mark.parametrize("wrong", [0, 3])
def test_a_split_that_leaves_nothing_is_refused(wrong: int) -> None:
    with pytest.raises(IcgError, match="leave_out"):
        leave_last(table([(0, 1, 1, True)]), wrong, 3)


def test_no_events_split_into_nothing() -> None:
    none = np.zeros(0)
    empty = Interactions.of(none, none, none, none, none)
    assert len(leave_last(empty, 1, 2).users) == len(by_time(empty, 0.5).users) == 0


def test_times_that_are_not_finite_are_refused() -> None:
    with pytest.raises(IcgError, match="finite"):
        table([(0, 1, float("nan"), True)])
