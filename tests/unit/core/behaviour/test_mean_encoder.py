"""Events -> user embedding."""

from collections.abc import Sequence

import numpy as np
import pytest
from eyecatch.core.behaviour.mean_encoder import MeanEncoder
from eyecatch.core.types import Action, Event, Vector

from tests.unit.core.recommending.test_ranking import axis

COVERS = {"red": axis(0), "blue": axis(1), "\x1fitem": axis(2)}


def event(cover: str, action: Action, **more: int) -> Event:
    return Event("e", "u", "item", action, 1.0, cover, **more)


def user_embedding(events: Sequence[Event]) -> Vector:
    return MeanEncoder()([events], COVERS)[0]


def test_likes_pull_and_dislikes_push() -> None:
    both = user_embedding([event("red", Action.LIKE), event("blue", Action.DISLIKE)])
    assert both @ COVERS["red"] > 0.5
    assert both @ COVERS["blue"] < -0.3
    assert np.linalg.norm(both) == pytest.approx(1.0, abs=1e-5)


def test_newer_counts_more_and_impressions_age_nothing() -> None:
    recent = user_embedding([event("red", Action.CLICK), event("blue", Action.CLICK)])
    assert recent @ COVERS["red"] > recent @ COVERS["blue"]
    calls = [event("blue", Action.IMPRESSION)] * 20
    assert np.allclose(user_embedding([*calls, event("red", Action.CLICK)]), COVERS["red"])


def test_dwell_counts_up_to_ten_seconds() -> None:
    def weight(ms: int) -> float:
        return float(user_embedding([event("red", Action.DWELL, dwell_ms=ms), event("blue", Action.CLICK)])[0])

    assert weight(0) == 0.0
    assert 0.0 < weight(2_000) < weight(10_000) == weight(60_000)


def test_nothing_known_is_zero_and_an_item_stands_in_for_an_unknown_cover() -> None:
    assert not user_embedding([]).any()
    assert not user_embedding([event("gone", Action.LIKE)]).any()
    assert np.allclose(user_embedding([event("", Action.LIKE)]), COVERS["\x1fitem"])
