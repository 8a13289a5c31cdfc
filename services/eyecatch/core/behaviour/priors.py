"""User embeddings from events and a prior: what a map says of a user's own vector. Knows no store.

A user without engagements is at the prior, and behaviour takes over: the prior loses weight with each engagement, and has none left when
the window of the encoder is full. It turns the encoder's embedding and leaves its length: what behaviour says counts no less for a vector.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eyecatch.core.ports import Encoder
from eyecatch.core.types import EMBEDDING_DIM, RECENT_EVENTS, Action, Behaviour, Event, Prior, Vector

TINY = 1e-3
_LIKED = frozenset({Action.CLICK, Action.LIKE, Action.PURCHASE, Action.DWELL})


def encode(
    users: Sequence[Sequence[Event]],
    embeddings: Mapping[str, Vector],
    encoder: Encoder,
    priors: Sequence[Prior | None],
) -> Vector:
    """User embeddings (N, D) as the encoder's, drawn towards the priors of those users that have one."""
    encoded = encoder(users, embeddings)
    having = [(n, prior) for n, prior in enumerate(priors) if prior is not None]
    if having:
        count = _counts([users[n] for n, _ in having], embeddings)
        encoded = np.array(encoded)  # an encoder may keep its result
        for (n, prior), events in zip(having, count.tolist(), strict=True):
            encoded[n] = blend(encoded[n], events, prior)
    return encoded


def blend(embedding: Vector, events: int, prior: Prior) -> Vector:
    """The user embedding (D,) of an encoder that knows so many events, and a prior. Where both cancel it is the encoder's."""
    length, size = float(np.linalg.norm(embedding)), float(np.linalg.norm(prior.row))
    if length < TINY or size < TINY:
        return prior.row if length < TINY else embedding
    share = prior.trust / (events + prior.trust) * max(1 - events / RECENT_EVENTS, 0)
    # In unit directions: a prior is short where a vector says little, but an encoder may be as long after one event as after many.
    mixed: Vector = np.float32((1 - share) / length) * embedding + np.float32(share / size) * prior.row
    total = float(np.linalg.norm(mixed))
    return mixed * np.float32(length / total) if total > TINY else embedding


def behaviour(
    users: Sequence[Sequence[Event]],
    embeddings: Mapping[str, Vector],
    encoder: Encoder,
    stored: Sequence[bool],
    halve: bool,
) -> Behaviour:
    """As UserVectors.behaviour, from users' engagements, newest first."""
    known = [[event for event in events if event.cover_key in embeddings] for events in users]
    older = [events[len(events) // 2 :] if halve else events for events in known]
    newer = [events[: len(events) // 2] if halve else events for events in known]
    liked = []
    for before, after in zip(older, newer, strict=True):
        earlier = {event.cover_key for event in before} if halve else set[str]()
        keys = dict.fromkeys(e.cover_key for e in after if e.action in _LIKED and e.cover_key not in earlier)
        liked.append(np.array([embeddings[key] for key in keys], np.float32).reshape(-1, EMBEDDING_DIM))
    return Behaviour(encoder(older, embeddings), _counts(older, embeddings), liked, np.array(stored, np.bool_))


def _counts(users: Sequence[Sequence[Event]], embeddings: Mapping[str, Vector]) -> NDArray[np.int64]:
    return np.array([sum(e.cover_key in embeddings for e in events) for events in users], np.int64)
