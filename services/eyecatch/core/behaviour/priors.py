"""User embeddings from events and a prior: the place among user embeddings that a map gives a user's own vector. Knows no store.

A user without engagements is at the prior, one with TRUST of them half way between it and the encoder's embedding. The sum is shorter than
both where they disagree, and covers are personalised less.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eyecatch.core.ports import Encoder
from eyecatch.core.types import EMBEDDING_DIM, Action, Behaviour, Event, Vector

TRUST = 4.0
"""Engagements that weigh as much as the prior."""
_LIKED = frozenset({Action.CLICK, Action.LIKE, Action.PURCHASE, Action.DWELL})


def encode(
    users: Sequence[Sequence[Event]],
    embeddings: Mapping[str, Vector],
    encoder: Encoder,
    priors: Sequence[Vector | None],
) -> Vector:
    """User embeddings (N, D) as the encoder's, drawn towards the priors (D,) of those users that have one."""
    encoded = encoder(users, embeddings)
    having = [n for n, prior in enumerate(priors) if prior is not None]
    if having:
        rows = np.stack([prior for prior in priors if prior is not None])
        count = _counts([users[n] for n in having], embeddings)[:, None]
        weight = (count / (count + TRUST)).astype(np.float32)
        encoded = np.array(encoded)  # an encoder may keep its result
        encoded[having] = weight * encoded[having] + (1 - weight) * rows
    return encoded


def behaviour(
    users: Sequence[Sequence[Event]],
    embeddings: Mapping[str, Vector],
    encoder: Encoder,
    stored: Sequence[bool],
) -> Behaviour:
    """What users did, from their engagements, newest first."""
    keys = [list(dict.fromkeys(e.cover_key for e in events if e.action in _LIKED)) for events in users]
    liked = [
        np.array([embeddings[k] for k in own if k in embeddings], np.float32).reshape(-1, EMBEDDING_DIM) for own in keys
    ]
    encoded = encoder(users, embeddings)
    return Behaviour(encoded, _counts(users, embeddings), liked, np.array(stored, np.bool_))


def _counts(users: Sequence[Sequence[Event]], embeddings: Mapping[str, Vector]) -> NDArray[np.int64]:
    return np.array([sum(e.cover_key in embeddings for e in events) for events in users], np.int64)
