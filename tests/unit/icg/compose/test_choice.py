"""The picture that a user prefers anchors the cover."""

import numpy as np
import pytest
from icg.compose.choice import preferred, preferred_first

USER = np.array([1.0, 0.0], np.float32)


@pytest.mark.parametrize(
    ("dots", "index"),
    [([0.1, 0.9, 0.3], 1), ([0.5, 0.5], 0), ([-0.9, -0.1], 1), ([None, -0.4, None], 1), ([None, None], 0), ([], 0)],
)
def test_the_largest_dot_product_is_first(dots: list[float | None], index: int) -> None:
    embeddings = [None if dot is None else np.array([dot, 0.7], np.float32) for dot in dots]
    assert preferred(USER, embeddings) == index


@pytest.mark.parametrize("user", [None, np.zeros(2, np.float32)])
def test_nobody_gets_the_first(user: np.ndarray | None) -> None:
    assert preferred(user, [np.array([v, 0], np.float32) for v in (0.1, 0.9)]) == 0


def test_the_others_keep_their_order() -> None:
    embeddings = [np.array([v, 0], np.float32) for v in (0.1, 0.2, 0.9, 0.3)]
    assert preferred_first("abcd", USER, embeddings) == ["c", "a", "b", "d"]
    assert preferred_first((), USER, []) == []


def test_a_learned_affinity_takes_the_place_of_the_dot_product() -> None:
    embeddings = [np.array(v, np.float32) for v in ([0.9, 0.0], [0.1, 0.8])]
    assert preferred(USER, embeddings) == 0
    assert preferred(USER, embeddings, np.array([[0, 0], [1, 0]], np.float32)) == 1
