"""Which of an item's pictures anchors a cover: the one that its user prefers. Services and evaluations both choose by it. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def preferred(user: np.ndarray | None, embeddings: Sequence[np.ndarray | None]) -> int:
    """The index of the picture with the largest dot product of its cover embedding (D,) and `user` (D,).

    The first of equals; 0 without a user, or for a user of zeros. A picture whose embedding is None is not chosen unless all are.
    """
    if user is None or not user.any():
        return 0
    dots = [-np.inf if embedding is None else float(np.dot(embedding, user)) for embedding in embeddings]
    return int(np.argmax(dots)) if dots else 0


def preferred_first(pictures: Sequence[T], user: np.ndarray | None, embeddings: Sequence[np.ndarray | None]) -> list[T]:
    """The pictures with the preferred one first, and the others in their order."""
    if not pictures:
        return []
    first = preferred(user, embeddings)
    return [pictures[first], *pictures[:first], *pictures[first + 1 :]]
