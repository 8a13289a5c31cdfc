"""The bytes of a profile: round trips, the size, old versions, and what happens to bytes that are not a profile."""

from dataclasses import replace

import numpy as np
import pytest
from eyecatch.core.behaviour.absorb import MAX_POSITIONS, OLDER_IDS, compact_event
from eyecatch.core.behaviour.tokens import token
from eyecatch.core.errors import InvalidInput, StoreDamaged, StoreTooNew
from eyecatch.core.types import (
    EMBEDDING_DIM,
    RECENT_EVENTS,
    Action,
    Activity,
    BotCounters,
    Event,
    Position,
    Profile,
    Vector,
    zeros,
)
from eyecatch.stores import profile_codec as codec
from hypothesis import given, settings
from hypothesis import strategies as st

_IDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=128)
_TIMES = st.integers(1, 4_000_000_000_000).map(lambda ms: ms / 1000)
_COUNTS = st.floats(0, 1e12)


def unit(seed: int) -> Vector:
    v = np.random.default_rng(seed).standard_normal(EMBEDDING_DIM).astype(np.float32)
    return v / np.float32(np.linalg.norm(v))


_EVENTS = st.builds(
    Event, _IDS, st.just("mia"), _IDS, st.sampled_from(Action), _TIMES, st.just("") | _IDS, _IDS, st.integers(0, 10**8)
).map(compact_event)
_PROFILES = st.builds(
    Profile,
    st.just("mia"),
    st.integers(0, 1000).map(unit) | st.just(zeros()),
    st.integers(0, 2**32 - 1),
    _TIMES,
    st.lists(st.builds(Position, _IDS.map(token), st.integers(0, 65_535), st.integers(0, 2**63)), max_size=4).map(
        tuple
    ),
    st.lists(_EVENTS, max_size=RECENT_EVENTS).map(tuple),
    st.lists(_IDS.map(token), max_size=OLDER_IDS).map(tuple),
    st.builds(Activity, st.tuples(*[_COUNTS] * 6), _TIMES),
    st.builds(BotCounters, _COUNTS, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.integers(0, 65_535),
)


def same(a: Profile, b: Profile) -> bool:
    return replace(a, embedding=None).__dict__ == replace(b, embedding=None).__dict__  # type: ignore[arg-type]


@given(profile=_PROFILES)
@settings(deadline=None)
def test_a_profile_comes_back_as_it_went_in(profile: Profile) -> None:
    data = codec.encode(profile)
    assert len(data) <= codec.PROFILE_BYTES
    names = {codec.reference(e.item_id, e.cover_id): (e.item_id, e.cover_id) for e in profile.events}
    back = codec.decode("mia", data, names)
    assert same(back, profile)
    np.testing.assert_allclose(back.embedding, profile.embedding, atol=0.004 * float(np.abs(profile.embedding).max()))
    encoder, head = codec.embedding(data[: codec.HEAD_BYTES])
    assert encoder == profile.encoder
    assert (head is None) == (not profile.embedding.any())
    assert codec.encode(back) == data
    # Names that are not at hand are not lost: the same bytes go back.
    assert codec.encode(codec.decode("mia", data)) == data


def test_the_largest_profile_fits() -> None:
    e = Event("x" * 128, "mia", "y" * 128, Action.DWELL, 2**47 / 1000, "z" * 128, "d" * 128, 10**9)
    most = Profile(
        "mia",
        unit(1),
        2**33,
        2**40,
        tuple(Position("t" * 249, n, 2**63) for n in range(9)),
        (e,) * 99,
        ("i" * 128,) * 99,
        Activity((1e300,) * 6, 1e300),
        BotCounters(1e300, 2**40, 2**40),
        65_535,
    )
    data = codec.encode(most)
    assert len(data) <= codec.PROFILE_BYTES == 1024
    back = codec.decode("mia", data)
    assert (len(back.positions), len(back.events), len(back.recent_ids)) == (MAX_POSITIONS, RECENT_EVENTS, OLDER_IDS)


def test_the_stored_embedding_points_where_the_embedding_does() -> None:
    for seed in range(100):
        _, back = codec.embedding(codec.encode(Profile("mia", unit(seed))))
        assert back is not None
        assert float(back @ unit(seed)) / float(np.linalg.norm(back)) > 0.9999
        assert not back.flags.writeable


@pytest.mark.parametrize("broken", [np.full(64, np.nan, np.float32), np.zeros(63, np.float32)])
def test_a_broken_embedding_is_refused(broken: Vector) -> None:
    with pytest.raises(InvalidInput, match="embedding"):
        codec.encode(Profile("mia", broken))


# Written by the first release that had profiles as bytes. It is read for ever: never change it, add one for each version.
GOLDEN_1 = bytes.fromhex(
    "010900400000003f0000008100000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000290000007d6c50c4a001000000000000000029400000000000000a4000000000000000000000"
    "00000000e03f000000000000f03f00000000000000409eefffdf4eacda41000000000000fc3f0300000002000000020202843404fba301"
    "0700141a99be1c00000001740000000000000000000000000000dbc18247038d7b76a1b2c3d4e5f6ff6b50c4a001cbe2c03ebbb124ac25"
    "026531000000f469e5cf8b01a0026530000000ffffffffffff"
)


def test_version_1_is_read_for_ever() -> None:
    names = {codec.reference("item-1", "cover-1"): ("item-1", "cover-1"), codec.reference("item-2", ""): ("item-2", "")}
    assert GOLDEN_1[0] == 1
    profile = codec.decode("mia", GOLDEN_1, names)
    assert same(profile, GOLDEN_PROFILE)
    np.testing.assert_array_equal(profile.embedding, GOLDEN_PROFILE.embedding)


GOLDEN_PROFILE = Profile(
    "mia",
    np.eye(EMBEDDING_DIM, dtype=np.float32)[3] * np.float32(-0.5),
    41,
    1_790_000_000.125,
    (Position("~843404fba301", 7, 123_456_789_012), Position("t", 0, 0)),
    (
        Event("~a1b2c3d4e5f6", "mia", "item-1", Action.DWELL, 1_789_999_999.999, "cover-1", "", 3200),
        Event("e1", "mia", "item-2", Action.PURCHASE, 1_700_000_000.5),
    ),
    ("e0", "~ffffffffffff"),
    Activity((12.5, 3.25, 0.0, 0.5, 1.0, 2.0), 1_789_999_999.999),
    BotCounters(1.75, 3, 2),
    9,
)


def test_a_newer_version_is_left_alone() -> None:
    data = bytes([codec.VERSION + 1]) + codec.encode(Profile("mia", unit(1)))[1:]
    for read in (lambda: codec.decode("mia", data), lambda: codec.embedding(data)):
        with pytest.raises(StoreTooNew, match=f"version {codec.VERSION + 1}.* up to {codec.VERSION}"):
            read()


@given(data=st.binary(max_size=1200))
def test_random_bytes_are_a_named_error(data: bytes) -> None:
    with pytest.raises((StoreDamaged, StoreTooNew)):
        codec.decode("mia", data)


@given(profile=_PROFILES, data=st.data())
@settings(deadline=None, max_examples=300)
def test_damaged_bytes_are_a_profile_or_a_named_error(profile: Profile, data: st.DataObject) -> None:
    whole = bytearray(codec.encode(profile))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))]) + data.draw(st.binary(max_size=8))
    try:
        back = codec.decode("mia", cut)
    except (StoreDamaged, StoreTooNew):
        return
    codec.encode(back)


def test_cut_bytes_are_damaged() -> None:
    whole = codec.encode(GOLDEN_PROFILE)
    for length in range(len(whole)):
        with pytest.raises(StoreDamaged, match="cannot be read"):
            codec.decode("mia", whole[:length])
