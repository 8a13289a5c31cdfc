"""Taste clusters as values."""

import numpy as np
import pytest
from eyecatch.core.errors import StoreDamaged
from eyecatch.core.tastes.clusters import TasteClusters, directions
from eyecatch.core.types import EMBEDDING_DIM, zeros
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.builders import unit

SOME = TasteClusters(
    np.stack([unit(1), zeros(), unit(2)]),
    np.array([0.75, 0, 0.25], np.float32),
    3,
    65_535,
    80,
    1e9 + 0.5,
    np.array([0.125, 1, 0.5], np.float32),
    0.25,
)


def test_directions_stand_in_until_clusters_are_fitted() -> None:
    rng = np.random.default_rng(0)
    users = rng.standard_normal((500, EMBEDDING_DIM)).astype(np.float32)
    near = users + 0.1 * rng.standard_normal(users.shape).astype(np.float32)
    clusters = directions()
    assert np.mean(clusters.nearest(users) == clusters.nearest(near)) > 0.7
    assert np.mean(clusters.nearest(users) == clusters.nearest(users[::-1])) < 0.1
    assert len(set(clusters.nearest(users).tolist())) == 32
    assert clusters.of(zeros()) == -1
    assert [clusters.of(c) for c in clusters.centroids] == list(range(32))


def test_nobody_is_in_an_empty_cluster() -> None:
    assert [SOME.of(unit(1)), SOME.of(unit(2)), SOME.of(-unit(1))] == [0, 2, SOME.of(-unit(1))]
    assert SOME.of(-unit(1) - unit(2)) in (0, 2), "although the empty one's product is larger"
    assert SOME.alive == 2
    assert SOME.name == "ffff" != directions().name


def test_they_come_back_from_bytes() -> None:
    back = TasteClusters.from_bytes(SOME.to_bytes())
    for name in ("centroids", "shares", "drift"):
        np.testing.assert_array_equal(getattr(back, name), getattr(SOME, name))
    for name in ("generation", "encoder", "users", "fitted_at", "moved"):
        assert getattr(back, name) == getattr(SOME, name)


@given(st.data())
def test_damaged_bytes_are_clusters_or_a_named_error(data: st.DataObject) -> None:
    whole = bytearray(SOME.to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        back = TasteClusters.from_bytes(bytes(whole[:cut]))
    except StoreDamaged:
        return
    assert back.centroids.shape == (len(back.shares), EMBEDDING_DIM)


def test_no_bytes_are_no_clusters() -> None:
    with pytest.raises(StoreDamaged, match="fit them again"):
        TasteClusters.from_bytes(b"")
