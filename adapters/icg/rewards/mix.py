"""The mix: a weighted sum of standardised rewards, returned with its parts. Knows no particular reward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from icg.brief import Brief
from icg.errors import IcgError
from icg.rewards.base import Reward


@dataclass(frozen=True, eq=False)
class Mixed:
    """`total` (B,) and, by reward name, the raw values (B,) it came from."""

    total: np.ndarray
    parts: dict[str, np.ndarray]


class Mix:
    """Each reward is standardised over the batch (or by fixed `scales` {name: (mean, deviation)}), then weighed."""

    def __init__(
        self,
        rewards: Mapping[str, Reward],
        weights: Mapping[str, float],
        scales: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        unknown = sorted(set(weights) - set(rewards))
        if unknown:
            raise IcgError(f"weights for {unknown}; allowed: {sorted(rewards)}")
        self.rewards, self.weights, self.scales = dict(rewards), dict(weights), dict(scales or {})

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> Mixed:
        """Rewards without a weight are not run."""
        parts = {name: self.rewards[name](images, briefs) for name in self.weights}
        total = np.zeros(len(images), np.float32)
        for name, values in parts.items():
            mean, deviation = self.scales.get(name) or (float(values.mean()), float(values.std()))
            total += np.float32(self.weights[name]) * (values - mean) / max(deviation, 1e-6)
        return Mixed(total, parts)
