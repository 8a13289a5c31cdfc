"""Events -> user embedding without a learned model. Knows no store.

The user embedding is the normalised mean of the covers that a user engaged with. Recent covers weigh more, and negative actions
have negative weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eyecatch.core.types import Action, Event, Vector, zeros

ACTION_WEIGHT = {
    Action.IMPRESSION: 0.0,
    Action.CLICK: 1.0,
    Action.LIKE: 2.0,
    Action.DISLIKE: -1.5,
    Action.PURCHASE: 3.0,
}
DWELL_FULL_MS = 10_000
HALF_LIFE_EVENTS = 16.0


def weight(event: Event, age: int) -> float:
    """The weight of an event in the mean, -1.5 to 3, halved every HALF_LIFE_EVENTS events. Dwell counts up to DWELL_FULL_MS."""
    base = min(event.dwell_ms / DWELL_FULL_MS, 1.0) if event.action is Action.DWELL else ACTION_WEIGHT[event.action]
    return float(base * 0.5 ** (age / HALF_LIFE_EVENTS))


@dataclass(frozen=True)
class MeanEncoder:
    """The Encoder port without a learned model: unit vectors, or zeros for a user without engagements.

    `version` differs for different models of cover embeddings.
    """

    version: int = 1

    def __call__(self, users: Sequence[Sequence[Event]], embeddings: Mapping[str, Vector]) -> Vector:
        return np.stack([_mean(events, embeddings) for events in users])


def _mean(events: Sequence[Event], embeddings: Mapping[str, Vector]) -> Vector:
    total = zeros()
    age = 0
    for event in events:
        cover = embeddings.get(event.cover_key)
        if cover is None:
            continue
        w = weight(event, age)
        # Impressions have no weight and must not age the engagements before them.
        age += w != 0.0
        total += w * cover
    norm = float(np.linalg.norm(total))
    return total / np.float32(norm) if norm > 1e-6 else zeros()
