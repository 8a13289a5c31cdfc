"""How a profile takes in events: counts, bots, window, ids and positions, and that batches change nothing."""

from collections.abc import Sequence

import pytest
from eyecatch.core.behaviour import activity, bots, dwell
from eyecatch.core.behaviour.absorb import MAX_POSITIONS, OLDER_IDS, Absorption, compact_event
from eyecatch.core.behaviour.tokens import pack, token, unpack
from eyecatch.core.types import (
    RECENT_EVENTS,
    Action,
    Activity,
    BotCounters,
    Event,
    Position,
    Profile,
    zeros,
)
from hypothesis import given
from hypothesis import strategies as st


def event(id: str, time: float = 1e9, action: Action = Action.CLICK, dwell_ms: int = 0) -> Event:
    return Event(id, "mia", "a", action, time, dwell_ms=dwell_ms)


def absorbed(before: Profile, events: Sequence[Event], positions: Sequence[Position] = ()) -> Profile:
    work = Absorption(before)
    for n, e in enumerate(events):
        work.add(e, positions[n] if positions else None)
    return work.profile(0.0)


NOBODY = Profile("mia", zeros())

_EVENTS = st.lists(
    st.builds(
        event,
        st.integers(0, 70).map(lambda n: f"event-{n}"),
        st.integers(1, 10**7).map(lambda t: 1e9 + t / 7),
        st.sampled_from(Action),
        st.integers(0, 20_000_000),
    ),
    max_size=90,
)


@given(events=_EVENTS, cuts=st.lists(st.integers(0, 90), max_size=5))
def test_how_arrivals_are_cut_into_batches_changes_nothing(events: list[Event], cuts: list[int]) -> None:
    positions = [Position("t", n % 3, n) for n in range(len(events))]
    whole = absorbed(NOBODY, events, positions)
    parts, last = NOBODY, 0
    saved = Absorption(NOBODY)
    for cut in [*sorted(cuts), len(events)]:
        for e, position in zip(events[last:cut], positions[last:cut], strict=True):
            saved.add(e, position)
        saved.rebase(saved.profile(0.0))
        assert (saved.changed, saved.new, saved.stale(0)) == (False, [], False)
        parts, last = absorbed(parts, events[last:cut], positions[last:cut]), max(last, cut)
    for name in ("event_count", "positions", "events", "recent_ids", "activity", "bots"):
        assert getattr(parts, name) == getattr(saved.profile(0.0), name) == getattr(whole, name), name
    again = Absorption(whole)
    assert not any(again.add(e, p) for e, p in zip(events, positions, strict=True))
    assert not again.changed


def test_counts_halve_every_week_whatever_the_order() -> None:
    week = activity.HALF_LIFE_S
    in_time = activity.add_event(activity.add_event(Activity(), Action.LIKE, 1e9), Action.LIKE, 1e9 + week)
    late = activity.add_event(activity.add_event(Activity(), Action.LIKE, 1e9 + week), Action.LIKE, 1e9)
    assert in_time == late == Activity((0, 0, 1.5, 0, 0, 0), 1e9 + week)
    assert activity.decayed_counts(late, 1e9 + 2 * week)[2] == 0.75
    assert activity.decayed_counts(late, 0.0)[2] == 1.5, "nothing grows backwards"


def test_an_impossible_dwell_counts_for_nothing() -> None:
    day = 24 * 3600 * 1000
    weight, counters = bots.weigh(BotCounters(), 0.0, event("e", action=Action.DWELL, dwell_ms=day))
    assert (weight, counters.impossible, counters.too_fast) == (0.0, 1, 0)
    profile = absorbed(NOBODY, [event("e", action=Action.DWELL, dwell_ms=day), event("f", 1e9 + 1)])
    assert [e.id for e in profile.events] == ["f"]
    assert profile.event_count == 2, "counted, not lost"
    assert sum(profile.activity.counts) == 1.0


@pytest.mark.parametrize(("per_second", "human"), [(0.5, True), (2.0, True), (20.0, False), (500.0, False)])
def test_who_clicks_faster_than_people_is_weighed_down(per_second: float, human: bool) -> None:
    profile = absorbed(NOBODY, [event(f"e{n}", 1e9 + n / per_second) for n in range(1000)])
    assert (profile.bots.too_fast == 0) == human
    assert (sum(profile.activity.counts) < 500) != human or per_second < 1
    after = absorbed(profile, [event("later", 1e9 + 1000 / per_second + 600)])
    assert after.events[0].id == "later", "ten minutes later they are human again"
    assert after.bots.too_fast == profile.bots.too_fast


def test_a_screen_full_of_impressions_is_human() -> None:
    shown = [event(f"i{n}", 1e9, Action.IMPRESSION) for n in range(500)]
    assert absorbed(NOBODY, shown).bots.too_fast == 0


def test_the_weight_falls_with_the_square_of_the_rate() -> None:
    weight, _ = bots.weigh(BotCounters(rate=2 * bots.MAX_RATE - 1), 1e9, event("e", 1e9))
    assert weight == pytest.approx(0.25)


def test_impressions_leave_the_window_first_and_their_ids_stay_known() -> None:
    shown = [event(f"impression-{n}", 1e9 + n, Action.IMPRESSION) for n in range(RECENT_EVENTS)]
    clicks = [event(f"click-{n}", 1e9 - 1000 * n) for n in range(4)]
    profile = absorbed(NOBODY, [*shown, *clicks])
    assert [e.action for e in profile.events].count(Action.CLICK) == 4
    assert profile.recent_ids == tuple(token(f"impression-{n}") for n in (3, 2, 1, 0))
    assert not Absorption(profile).add(shown[0])


def test_when_no_impression_is_left_the_oldest_engagement_goes() -> None:
    shown = [event(f"i{n}", 1e9 + 100 + n, Action.IMPRESSION) for n in range(5)]
    profile = absorbed(NOBODY, [*shown, *(event(f"c{n}", 1e9 + n) for n in range(60))])
    assert [e.id for e in profile.events] == [f"c{n}" for n in reversed(range(60 - RECENT_EVENTS, 60))]


def test_at_least_fifty_ids_are_known_and_no_more_than_fit() -> None:
    profile = absorbed(NOBODY, [event(f"event-{n}", 1e9 + n) for n in range(200)])
    assert (len(profile.events), len(profile.recent_ids)) == (RECENT_EVENTS, OLDER_IDS)
    work = Absorption(profile)
    assert [work.add(event(f"event-{n}")) for n in range(148, 200)] == [False] * 52


def test_positions_are_kept_of_the_latest_partitions() -> None:
    moved = absorbed(NOBODY, [event(f"e{n}") for n in range(7)], [Position("t", n, 9) for n in range(7)])
    assert [p.partition for p in moved.positions] == [6, 5, 4, 3]
    assert len(moved.positions) == MAX_POSITIONS
    work = Absorption(moved)
    assert not work.add(event("x"), Position("t", 5, 9)), "not behind the last one"
    assert work.add(event("x"), Position("t", 5, 10))
    assert work.profile(0.0).positions[0] == Position("t", 5, 10)


def test_the_form_kept_is_kept() -> None:
    e = Event("a-long-event-id", "mia", "i", Action.DWELL, 1e9 + 0.123456, "c", "d", 12_345)
    saved = compact_event(e)
    assert (saved.time, saved.decision_id, saved.item_id, saved.cover_id) == (1e9 + 0.123, "", "i", "c")
    assert saved.dwell_ms == pytest.approx(12_345, rel=0.2)
    assert compact_event(saved) == saved


def test_every_dwell_has_its_nearest_bucket() -> None:
    assert [dwell.bucket(dwell.milliseconds(b)) for b in range(dwell.BUCKETS)] == list(range(dwell.BUCKETS))
    assert (dwell.bucket(0), dwell.bucket(99), dwell.bucket(10**9)) == (0, 0, dwell.BUCKETS - 1)
    for ms in range(100, 3_000_000, 997):
        assert dwell.milliseconds(dwell.bucket(ms)) == pytest.approx(ms, rel=0.2)


@given(text=st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=130))
def test_tokens_have_six_bytes_and_are_their_own_tokens(text: str) -> None:
    packed = pack(text)
    assert len(packed) == 6
    assert unpack(packed) == token(text) == token(token(text))
    assert pack(token(text)) == packed
    if len(text.encode()) <= 5:
        assert token(text) == text


def test_different_ids_have_different_tokens() -> None:
    assert len({token(f"event-{n}") for n in range(50_000)}) == 50_000


@pytest.mark.parametrize("packed", [b"\x06abcde", b"\x7fabcde", b"\x01abcde", b"\x02\xc3\x28\0\0\0"])
def test_what_is_no_token_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"token|decode"):
        unpack(packed)


def test_only_an_engagement_or_another_encoder_makes_an_embedding_stale() -> None:
    work = Absorption(absorbed(NOBODY, [event("a")]))
    assert not work.stale(1), "nothing is new"
    work.add(event("b", action=Action.IMPRESSION))
    assert not work.stale(0)
    assert work.stale(1), "what encoder 0 made"
    work.add(event("c", action=Action.DISLIKE))
    assert work.stale(0)
