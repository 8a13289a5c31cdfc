"""Events -> user embedding."""

import numpy as np
import pytest
from eyecatch.core.taste import taste_cluster, user_embedding
from eyecatch.core.types import EMBEDDING_DIM, Action, Event, zeros

from tests.unit.core.test_ranking import axis

COVERS = {"red": axis(0), "blue": axis(1), "item": axis(2)}


def event(cover: str, action: Action, **more: int) -> Event:
    return Event("e", "u", "item", action, 1.0, cover, **more)


def test_likes_pull_and_dislikes_push() -> None:
    both = user_embedding([event("red", Action.LIKE), event("blue", Action.DISLIKE)], COVERS)
    assert both @ COVERS["red"] > 0.5
    assert both @ COVERS["blue"] < -0.3
    assert np.linalg.norm(both) == pytest.approx(1.0, abs=1e-5)


def test_newer_counts_more_and_impressions_age_nothing() -> None:
    recent = user_embedding([event("red", Action.CLICK), event("blue", Action.CLICK)], COVERS)
    assert recent @ COVERS["red"] > recent @ COVERS["blue"]
    seen = [event("blue", Action.IMPRESSION)] * 20
    assert np.allclose(user_embedding([*seen, event("red", Action.CLICK)], COVERS), COVERS["red"])


def test_dwell_counts_up_to_ten_seconds() -> None:
    def weight(ms: int) -> float:
        return float(user_embedding([event("red", Action.DWELL, dwell_ms=ms), event("blue", Action.CLICK)], COVERS)[0])

    assert weight(0) == 0.0
    assert 0.0 < weight(2_000) < weight(10_000) == weight(60_000)


def test_nothing_known_is_zero_and_an_item_stands_in_for_an_unknown_cover() -> None:
    assert not user_embedding([], COVERS).any()
    assert not user_embedding([event("gone", Action.LIKE)], COVERS).any()
    assert np.allclose(user_embedding([event("", Action.LIKE)], COVERS), COVERS["item"])
    assert taste_cluster(zeros()) == -1


def test_near_users_mostly_share_a_taste_cluster() -> None:
    rng = np.random.default_rng(0)
    users = rng.standard_normal((500, EMBEDDING_DIM)).astype(np.float32)
    near = users + 0.1 * rng.standard_normal(users.shape).astype(np.float32)
    same = np.mean([taste_cluster(a) == taste_cluster(b) for a, b in zip(users, near, strict=True)])
    other = np.mean([taste_cluster(a) == taste_cluster(b) for a, b in zip(users, users[::-1], strict=True)])
    assert same > 0.8
    assert other < 0.1
