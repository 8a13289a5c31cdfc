"""Which of an item's pictures anchors a cover: the one that its user prefers. Services and evaluations both choose by it. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def preferred(
    user: np.ndarray | None, embeddings: Sequence[np.ndarray | None], affinity: np.ndarray | None = None
) -> int:
    """The index of the picture whose cover embedding (D,) goes best with `user` (D,): by the matrix `affinity` (D, D) between them
    (`icg.users.affinity`), or else by the dot product.

    The first of equals; 0 without a user, or for a user of zeros. A picture whose embedding is None is not chosen unless all are.
    """
    if user is None or not user.any():
        return 0
    user = user if affinity is None else affinity @ user
    dots = [-np.inf if embedding is None else float(np.dot(embedding, user)) for embedding in embeddings]
    return int(np.argmax(dots)) if dots else 0


def preferred_first(
    pictures: Sequence[T],
    user: np.ndarray | None,
    embeddings: Sequence[np.ndarray | None],
    affinity: np.ndarray | None = None,
) -> list[T]:
    """The pictures with the preferred one first, and the others in their order."""
    if not pictures:
        return []
    first = preferred(user, embeddings, affinity)
    return [pictures[first], *pictures[:first], *pictures[first + 1 :]]
