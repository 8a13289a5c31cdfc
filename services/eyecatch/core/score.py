"""Rewards -> score: a weighted sum of standardised rewards, returned with its parts. Knows no cover store and no wire."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import Vector

PREFERENCE = "preference"
CLICKS = "clicks"
"""The reward that no picture has: a server learns it from behaviour and keeps it in memory."""


@dataclass(frozen=True)
class RewardSpec:
    """How one reward enters the score: weight × (value − mean) / deviation."""

    name: str
    weight: float
    mean: float = 0.0
    deviation: float = 1.0


@dataclass(frozen=True)
class Scoring:
    """The preference and the stored rewards, in this order everywhere."""

    preference: RewardSpec
    stored: tuple[RewardSpec, ...]

    @classmethod
    def parse(cls, weights: str, base: "Scoring") -> "Scoring":
        """`"preference=2,relevance=0.5"` -> `base` with those weights. Raises InvalidInput for an unknown name or a bad number.

        A stored reward without a weight is left out, so that it need not be computed.
        """
        known = {s.name: s for s in (base.preference, *base.stored)}
        for pair in filter(None, (p.strip() for p in weights.split(","))):
            name, _, number = pair.partition("=")
            try:
                value = float(number)
            except ValueError:
                value = float("nan")
            if name not in known or not np.isfinite(value):
                raise InvalidInput.of("reward_weights", pair, "name=number with a name of " + ", ".join(known))
            known[name] = RewardSpec(name, value, known[name].mean, known[name].deviation)
        return cls(known[PREFERENCE], tuple(known[s.name] for s in base.stored if s.weight or known[s.name].weight))

    def scaled(self, scales: Mapping[str, Mapping[str, float]]) -> "Scoring":
        """With the mean and deviation of each reward in `scales`, and its weight if there is one; other rewards stay."""

        def one(spec: RewardSpec) -> RewardSpec:
            scale = scales.get(spec.name)
            if scale is None:
                return spec
            return RewardSpec(spec.name, scale.get("weight", spec.weight), scale["mean"], scale["deviation"])

        return Scoring(one(self.preference), tuple(map(one, self.stored)))

    def stores(self, name: str) -> bool:
        """Whether it is among the stored rewards."""
        return any(s.name == name for s in self.stored)

    def raw(self, rewards: Mapping[str, float]) -> Vector:
        """Stored rewards as a row (R,); NaN where a cover has none."""
        return np.array([rewards.get(s.name, np.nan) for s in self.stored], np.float32)

    def contributions(self, raw: Vector) -> Vector:
        """Standardised and weighted stored rewards (..., R) -> (..., R); a missing reward counts as its mean."""
        scale = np.array([s.weight / s.deviation for s in self.stored], np.float32)
        mean = np.array([s.mean for s in self.stored], np.float32)
        parts: Vector = np.nan_to_num((raw - mean) * scale).astype(np.float32)
        return parts
