"""Events -> user embedding, and user embedding -> taste cluster: the torch-free first form. Knows no store.

The user embedding is the normalised, recency-weighted mean of the covers a user engaged with; negative actions move away.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from eyecatch.core.types import EMBEDDING_DIM, Action, Event, Vector, zeros

ACTION_WEIGHT = {
    Action.IMPRESSION: 0.0,
    Action.CLICK: 1.0,
    Action.LIKE: 2.0,
    Action.DISLIKE: -1.5,
    Action.PURCHASE: 3.0,
}
DWELL_FULL_MS = 10_000
HALF_LIFE_EVENTS = 16.0
TASTE_BITS = 5


def weight(event: Event, age: int) -> float:
    """What an event says of taste, from -1.5 to 3, halved every HALF_LIFE_EVENTS events of age; dwell counts up to ten seconds."""
    base = min(event.dwell_ms / DWELL_FULL_MS, 1.0) if event.action is Action.DWELL else ACTION_WEIGHT[event.action]
    return float(base * 0.5 ** (age / HALF_LIFE_EVENTS))


def user_embedding(events: Sequence[Event], embeddings: Mapping[str, Vector]) -> Vector:
    """The Encoder port: events newest first -> unit vector (D,), or zeros while nothing is known."""
    total = zeros()
    age = 0
    for event in events:
        cover = embeddings.get(event.cover_id or event.item_id)
        if cover is None:
            continue
        w = weight(event, age)
        # Impressions carry no weight and must not age the engagements before them.
        age += w != 0.0
        total += w * cover
    norm = float(np.linalg.norm(total))
    return total / np.float32(norm) if norm > 1e-6 else zeros()


_PLANES = np.random.default_rng(20_261).standard_normal((TASTE_BITS, EMBEDDING_DIM)).astype(np.float32)


def taste_cluster(embedding: Vector) -> int:
    """The taste cluster of a user embedding, 0 to 2**TASTE_BITS - 1, or -1 for a user without one.

    Random hyperplanes (locality-sensitive hashing) until clusters are learned: near users share a cluster, ids never move.
    """
    if not embedding.any():
        return -1
    bits = (_PLANES @ embedding) > 0
    return int(bits @ (1 << np.arange(TASTE_BITS)))
