"""The ProfileStore and DecisionLog ports."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from eyecatch.core.recommending.decisions import to_line
from eyecatch.core.types import RECENT_EVENTS, Action, Activity, Decision, Event, Position, Vector, zeros
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contracts.builders import MEAN, Each, Stores, cover, event, generated, item, nothing, unit


def _raise(events: Sequence[Event]) -> Vector:
    raise AssertionError("nothing new, nothing to encode")


broken = Each(_raise)


async def test_nobody_has_no_profile(stores: Stores) -> None:
    assert await stores.profiles.embedding("mia", MEAN) is None
    assert await stores.profiles.profile("mia") is None
    assert await stores.profiles.forget("mia") is False


async def test_a_profile_follows_what_a_user_does(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a")], [cover("c1", "a", 1), cover("c2", "a", 2)])
    assert await stores.profiles.absorb([event("e1", cover_id="c1", action=Action.LIKE)], MEAN) == 1
    result = await stores.profiles.embedding("mia", MEAN)
    assert result is not None
    np.testing.assert_allclose(result, unit(1), atol=2e-3)
    await stores.profiles.absorb([event("e2", cover_id="c2", time=1e9 + 1, action=Action.PURCHASE)], MEAN)
    profile = await stores.profiles.profile("mia")
    assert profile is not None
    assert (profile.event_count, [e.id for e in profile.events]) == (2, ["e2", "e1"])
    assert profile.embedding @ unit(2) > profile.embedding @ unit(1) > 0.1
    np.testing.assert_array_equal(profile.embedding, await stores.profiles.embedding("mia", MEAN))


async def test_an_event_without_a_cover_speaks_for_the_items_own_covers(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a")], [cover("c1", "a", 1), cover("c2", "a", 2), generated("c3", "a", 3)])
    await stores.profiles.absorb([event("e1")], MEAN)
    mean = unit(1) + unit(2)
    result = await stores.profiles.embedding("mia", MEAN)
    assert result is not None
    np.testing.assert_allclose(result, mean / np.linalg.norm(mean), atol=2e-3)


async def test_users_who_engaged_with_items(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a"), item("b")], [cover("c1", "a")])
    users = [f"u{n}" for n in range(7)]
    await stores.profiles.absorb([event(f"e{user}", user) for user in users], MEAN)
    await stores.profiles.absorb([event("e1", "noah", item_id="b"), event("e2", "ida", action=Action.IMPRESSION)], MEAN)
    await stores.profiles.forget("u6")
    pages = [list(page) async for page in stores.profiles.engaged(["a", "absent"], 3)]
    assert max(map(len, pages)) <= 3
    keys = [key async for heads in stores.profiles.scan() for key in heads.keys]
    engaged = {key for page in pages for key in page}
    assert len(engaged) == 6
    assert engaged < set(keys)
    assert await stores.profiles.reencode(sorted(engaged), MEAN, always=True) == 6


async def test_new_covers_are_seen_by_the_next_event(stores: Stores) -> None:
    """Whatever the store remembers of embeddings must follow the catalogue."""
    await stores.catalog.upsert_items([item("a")], [cover("c1", "a", 1)])
    await stores.profiles.absorb([event("e1"), event("e2", cover_id="c1")], MEAN)
    await stores.catalog.add_covers([cover("c1", "a", 5)])
    await stores.profiles.absorb([event("e3", time=1e9 + 9)], MEAN)
    result = await stores.profiles.embedding("mia", MEAN)
    assert result is not None
    np.testing.assert_allclose(result, unit(5), atol=2e-3)
    await stores.catalog.delete_item("a")
    await stores.profiles.absorb([event("e4", time=1e9 + 10)], MEAN)
    assert await stores.profiles.embedding("mia", MEAN) is None, "nothing is left that tells a taste"


async def test_the_encoder_gets_the_newest_events_newest_first(stores: Stores) -> None:
    spy = Each()
    late = [event(f"e{n}", time=1e9 + n) for n in range(RECENT_EVENTS)]
    await stores.profiles.absorb(late[::-1], spy)
    await stores.profiles.absorb([event("old", time=5.0), event("tie", time=1e9 + RECENT_EVENTS - 1)], spy)
    newest_first = [e.id for e in late[::-1]]
    assert spy.calls == [[newest_first], [["tie", *newest_first[:-1]]]]
    profile = await stores.profiles.profile("mia")
    assert profile is not None
    assert [e.id for e in profile.events] == spy.calls[-1][0]
    assert profile.event_count == RECENT_EVENTS + 2


async def test_all_users_of_a_batch_are_encoded_in_one_call(stores: Stores) -> None:
    spy = Each(lambda events: unit(len(events)))
    await stores.profiles.absorb([event(f"{u}{n}", u, time=1e9 + n) for u in ("mia", "noah") for n in range(2)], spy)
    assert sorted(spy.calls.pop()) == [["mia1", "mia0"], ["noah1", "noah0"]]
    await stores.profiles.absorb([event("mia2", time=1e9 + 2), event("noah1", "noah"), event("lea0", "lea")], spy)
    assert sorted(spy.calls.pop()) == [["lea0"], ["mia2", "mia1", "mia0"]], "only users with something new"
    assert not spy.calls
    for user, seed in {"mia": 3, "noah": 2, "lea": 1}.items():
        result = await stores.profiles.embedding(user, spy)
        assert result is not None
        np.testing.assert_allclose(result, unit(seed), atol=2e-3)


async def test_a_cover_and_an_item_of_one_id_are_not_confused(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a"), item("b")], [cover("b", "a", 1), cover("c", "b", 2)])
    await stores.profiles.absorb([event("e1", cover_id="b"), event("e2", "noah", "b")], MEAN)
    for user, seed in {"mia": 1, "noah": 2}.items():
        result = await stores.profiles.embedding(user, MEAN)
        assert result is not None
        np.testing.assert_allclose(result, unit(seed), atol=2e-3)


async def test_the_same_events_again_change_nothing(stores: Stores) -> None:
    events = [event("e1"), event("e2", user="noah"), event("e1")]
    assert await stores.profiles.absorb(events, MEAN) == 2
    before = await stores.profiles.profile("mia")

    assert await stores.profiles.absorb(events, broken) == 0
    after = await stores.profiles.profile("mia")
    assert before is not None
    assert after is not None
    assert (after.event_count, after.updated_at, after.events) == (before.event_count, before.updated_at, before.events)


async def test_the_ids_of_one_user_do_not_suppress_the_events_of_another(stores: Stores) -> None:
    assert await stores.profiles.absorb([event("e1"), event("e1", user="ben")], nothing) == 2
    assert await stores.profiles.absorb([event("e1", user="noah")], nothing) == 1


async def test_the_last_fifty_ids_of_a_user_are_known_again(stores: Stores) -> None:
    events = [event(f"a-long-id-of-an-event-{n}", time=1e9 + n) for n in range(50)]
    for first in range(0, 50, 7):
        await stores.profiles.absorb(events[first : first + 7], nothing)
    assert await stores.profiles.absorb(events, nothing) == 0


async def test_what_lies_behind_the_position_is_a_replay(stores: Stores) -> None:
    def at(*offsets: int, topic: str = "t", partition: int = 0) -> list[Position]:
        return [Position(topic, partition, offset) for offset in offsets]

    assert await stores.profiles.absorb([event("a"), event("b")], Each(version=3), at(5, 6)) == 2
    assert await stores.profiles.absorb([event("c"), event("d"), event("e")], nothing, at(5, 6, 7)) == 1
    assert await stores.profiles.absorb([event("f")], nothing, at(0, partition=1)) == 1
    assert await stores.profiles.absorb([event("g")], nothing, at(0, topic="t/2")) == 1, "a topic created again"
    assert await stores.profiles.absorb([event("a")], broken, at(9)) == 0, "the position moves, nothing is encoded"
    profile = await stores.profiles.profile("mia")
    assert profile is not None
    assert (profile.event_count, profile.encoder) == (5, nothing.version)
    assert profile.positions == (*at(9), *at(0, topic="t/2"), *at(0, partition=1))


async def test_impressions_do_not_push_engagements_out_of_what_is_encoded(stores: Stores) -> None:
    spy = Each()
    await stores.profiles.absorb([event("e1"), event("e2")], spy)
    shown = [event(f"i{n}", time=1e9 + n, action=Action.IMPRESSION) for n in range(2 * RECENT_EVENTS)]
    await stores.profiles.absorb(shown, spy)
    assert spy.calls == [[["e2", "e1"]]], "impressions change no taste, so nothing is encoded"
    await stores.profiles.absorb([event("e3", time=2e9)], spy)
    assert spy.calls == [[["e2", "e1"]], [["e3", "e2", "e1"]]]


async def test_counts_bots_and_the_encoders_version_are_kept(stores: Stores) -> None:
    dwell = event("e1", action=Action.DWELL, dwell_ms=24 * 3600 * 1000)
    spy = Each(version=7)
    await stores.profiles.absorb([event("e0", action=Action.LIKE), dwell], spy)
    profile = await stores.profiles.profile("mia")
    assert profile is not None
    assert (profile.encoder, profile.bots.impossible, profile.event_count) == (7, 1, 2)
    assert profile.activity == Activity((0, 0, 1, 0, 0, 0), 1e9)
    assert spy.calls == [[["e0"]]], "nobody looks at a cover for a day"


async def test_absorbing_is_all_or_nothing(stores: Stores) -> None:
    def fails_for_noah(events: Sequence[Event]) -> Vector:
        if events[0].user_id == "noah":
            raise ValueError("no")
        return zeros()

    with pytest.raises(ValueError, match="no"):
        await stores.profiles.absorb([event("e1"), event("e2", user="noah")], Each(fails_for_noah))
    assert await stores.profiles.embedding("mia", MEAN) is None
    assert await stores.profiles.events() == []
    assert await stores.profiles.absorb([event("e1"), event("e2", user="noah")], nothing) == 2


async def test_a_forgotten_user_stays_forgotten(stores: Stores) -> None:
    mias, noahs = [event("e1"), event("e2")], [event("e3", user="noah")]
    await stores.profiles.absorb(mias + noahs, nothing)
    await stores.decisions.append(
        [to_line(Decision("d1", "mia", 1.0, ("a",), ("c",), (0.5,))), to_line(Decision("d2", "noah", 1.0, (), (), ()))]
    )
    assert await stores.profiles.forget("mia") is True
    assert await stores.profiles.embedding("mia", MEAN) is None
    assert await stores.profiles.profile("mia") is None
    assert await stores.decisions.decision("d1") is None
    assert await stores.decisions.decision("d2") is not None
    assert [e.user_id for _, e in await stores.profiles.events()] == ["noah"]
    assert await stores.profiles.user_count() == 1
    assert await stores.profiles.absorb([*mias, event("new"), event("e4", user="noah")], nothing) == 1
    await stores.decisions.append([to_line(Decision("d3", "mia", 2.0, (), (), ()))])
    assert await stores.decisions.decision("d3") is None
    assert await stores.profiles.embedding("mia", MEAN) is None
    assert await stores.profiles.forget("mia") is False


async def test_events_are_listed_in_the_order_of_arrival(stores: Stores) -> None:
    whole = Event("e1", "mia", "a", Action.DWELL, 1e9 + 0.25, "c", "d", 1234)
    await stores.profiles.absorb([whole, event("e0", time=5.0)], nothing)
    await stores.profiles.absorb([event("e2", user="noah")], nothing)
    listed = await stores.profiles.events()
    assert [e.id for _, e in listed] == ["e1", "e0", "e2"]
    assert listed[0][1] == whole
    assert [e.id for _, e in await stores.profiles.events(after=listed[0][0], limit=1)] == ["e0"]
    assert await stores.profiles.events(after=listed[-1][0]) == []


async def test_a_decision_comes_back_as_it_went_in(stores: Stores) -> None:
    """Propensities to the seven digits of single precision."""
    whole = Decision("d", "mia", 1e9 + 0.5, ("a", "b"), ("c1", "c2"), (0.3, 1.0))
    empty = Decision("e", "mia", 1.0, (), (), ())
    await stores.decisions.append([to_line(whole), to_line(empty)])
    await stores.decisions.append([to_line(whole)])
    result = await stores.decisions.decision("d")
    assert result is not None
    assert result[:-1] == whole[:-1]
    assert result.propensities == pytest.approx(whole.propensities, rel=1e-6)
    assert await stores.decisions.decision("e") == empty
    assert await stores.decisions.decision("absent") is None
    assert sorted([d.id async for d in stores.decisions.scan()]) == ["d", "e"], (
        "each once, though one was written twice"
    )


_RUNS = itertools.count()
_EVENTS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["mia", "noah"]), st.integers(1, 10**9)), max_size=8)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(_EVENTS, max_size=6))
async def test_each_event_counts_once_however_it_arrives(
    stores: Stores, batches: list[list[tuple[int, str, int]]]
) -> None:
    """Times to the millisecond: a profile keeps no more of them."""
    run = next(_RUNS)  # keeps the examples apart in the one store
    expected: dict[str, Event] = {}
    for batch in batches:
        events = [event(f"{n}{user[0]}", f"{run}/{user}", time=time / 1000) for n, user, time in batch]
        new = {e.id: e for e in reversed(events) if e.id not in expected}
        assert await stores.profiles.absorb(events, MEAN) == len(new)
        expected |= new
    for user in (f"{run}/mia", f"{run}/noah"):
        mine = [e for e in expected.values() if e.user_id == user]
        profile = await stores.profiles.profile(user)
        assert (profile is None) == (not mine)
        if profile is not None:
            assert profile.event_count == len(mine)
            assert {e.id for e in profile.events} == {e.id for e in mine}
            assert [e.time for e in profile.events] == sorted((e.time for e in mine), reverse=True)
