"""The quick look at an event says yes only where the whole one refuses nothing."""

import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.core.limits import MAX_CLOCK_AHEAD_S, MAX_DWELL_MS, MAX_ID, Check
from eyecatch.core.types import Action, Event
from hypothesis import given
from hypothesis import strategies as st

NOW = 1.8e9


class Whole(Check):
    @staticmethod
    def good(event: Event, now: float) -> bool:
        return False


GOOD = Event("e" * 36, "mía", "item-1", Action.DWELL, NOW, "c" * 24, "d" * 28, 1234)
_IDS = st.text(max_size=4) | st.sampled_from(["a", "x" * MAX_ID, "x" * (MAX_ID + 1), " a", "a b", "a\n"])


_EVENTS = st.builds(
    Event,
    _IDS,
    _IDS,
    _IDS,
    st.sampled_from(Action),
    st.floats(),
    _IDS,
    _IDS,
    st.integers(-1, 1) | st.just(MAX_DWELL_MS + 1),
)


@given(_EVENTS)
def test_what_passes_quickly_passes(e: Event) -> None:
    if Check.is_valid(e, NOW):
        check = Whole()
        check.event("event", e, NOW)
        check.done()


@pytest.mark.parametrize(
    "bad",
    [
        {"id": ""},
        {"user_id": "u" * (MAX_ID + 1)},
        {"item_id": "a\n"},
        {"cover_id": " c"},
        {"decision_id": "d\u00a0"},
        {"time": float("nan")},
        {"time": 0.0},
        {"time": NOW + MAX_CLOCK_AHEAD_S + 1},
        {"dwell_ms": -1},
        {"dwell_ms": MAX_DWELL_MS + 1},
    ],
)
def test_an_ordinary_event_passes_quickly_and_a_bad_one_never(bad: dict[str, object]) -> None:
    assert Check.is_valid(GOOD, NOW)
    assert not Check.is_valid(GOOD._replace(**bad), NOW)  # type: ignore[arg-type]
    check = Whole()
    check.event("event", GOOD._replace(**bad), NOW)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        check.done()
    assert Check.all_valid([GOOD, GOOD], NOW)
    for place in range(3):
        events = [GOOD, GOOD]
        events.insert(place, GOOD._replace(**bad))  # type: ignore[arg-type]
        assert not Check.all_valid(events, NOW)


@given(st.lists(_EVENTS | st.just(GOOD), max_size=4))
def test_many_pass_together_where_each_does(events: list[Event]) -> None:
    assert Check.all_valid(events, NOW) == all(Check.is_valid(e, NOW) for e in events)


def test_a_number_that_is_no_action_passes_with_nobody() -> None:
    assert not Check.all_valid([GOOD, GOOD._replace(action=7)], NOW)  # type: ignore[arg-type]
