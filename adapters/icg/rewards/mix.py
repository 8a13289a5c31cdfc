"""The mix: a weighted sum of standardised, clipped rewards, returned with its parts. Knows no particular reward.

Clipping comes after standardising: a cover that one reward rates ten deviations above the mean gains no more from it than an
excellent cover, so no single reward can be exploited to raise the sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg.brief import Brief
from icg.errors import IcgError
from icg.rewards.base import Reward, TensorReward, check_tensor

CLIP = 2.5
"""Rewards are clipped to this many deviations; under a normal distribution one cover in eighty is outside."""


@dataclass(frozen=True, eq=False)
class MixScores:
    """`total` (B,), and by reward name the raw values (B,) and the weighted contributions (B,) that sum to it: all arrays, or all
    tensors, of which `total` and `contributions` carry gradients."""

    total: Any
    parts: dict[str, Any]
    contributions: dict[str, Any]


class Mix:
    """Each reward is standardised over the batch or by fixed `scales`, clipped to ±`clip` deviations, then weighted.

    scales: {name: (mean, deviation)}, both finite, deviation above 0. A reward without a scale is standardised over the batch, where
    a single cover always gets 0. Raises IcgError naming the reward.
    """

    def __init__(
        self,
        rewards: Mapping[str, Reward | TensorReward],
        weights: Mapping[str, float],
        scales: Mapping[str, tuple[float, float]] | None = None,
        clip: float = CLIP,
    ) -> None:
        self.rewards, self.weights, self.scales, self.clip = dict(rewards), dict(weights), dict(scales or {}), clip
        for field, names in (("weights", self.weights), ("scales", self.scales)):
            unknown = sorted(set(names) - set(self.rewards))
            if unknown:
                raise IcgError(f"{field} for {unknown}; allowed: {sorted(self.rewards)}")
        for name, weight in self.weights.items():
            if not math.isfinite(weight):
                raise IcgError(f"weight of {name!r}={weight}; allowed: a finite number")
        for name, (mean, deviation) in self.scales.items():
            if not (math.isfinite(mean) and math.isfinite(deviation) and deviation > 0):
                raise IcgError(f"scale of {name!r}={(mean, deviation)}; allowed: finite, with a deviation above 0")
        if not clip > 0:
            raise IcgError(f"clip={clip}; allowed: above 0, math.inf for no clipping")

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> MixScores:
        """Rewards without a weight are not run. Raises IcgError naming a reward that returns NaN or infinity."""
        parts = {name: self._reward(name, Reward)(images, briefs) for name in self.weights}
        contributions = {}
        for name, values in parts.items():
            _check_finite(name, np.isfinite(values))
            mean, deviation = self.scales.get(name) or _mean_and_deviation(values)
            z = np.clip((values - mean) / max(deviation, 1e-6), -self.clip, self.clip)
            contributions[name] = (self.weights[name] * z).astype(np.float32)
        return MixScores(sum(contributions.values(), np.zeros(len(images), np.float32)), parts, contributions)

    def tensor(self, images: Tensor, briefs: Sequence[Brief]) -> MixScores:
        """images (B, 3, H, W) in [-1, 1] -> (B,) with gradients for `images`; needs a scale for every weight.

        Above +clip a reward has no gradient. Below -clip its value is clipped but its gradient is kept; else a cover that is very
        bad by one reward could never improve in it.
        """
        check_tensor(images, briefs)
        missing = sorted(set(self.weights) - set(self.scales))
        if missing:
            raise IcgError(f"scales without {missing}; allowed: one for every weight, a batch's mean has no gradient")
        parts, contributions = {}, {}
        for name, weight in self.weights.items():
            values = self._reward(name, TensorReward).tensor(images, briefs)
            _check_finite(name, torch.isfinite(values.detach()).cpu().numpy())
            mean, deviation = self.scales[name]
            z = ((values - mean) / deviation).clamp(max=self.clip)
            low = (-self.clip - z).clamp(min=0).detach()
            parts[name], contributions[name] = values.detach(), weight * (z + low).to(images.device)
        return MixScores(sum(contributions.values(), images.new_zeros(len(images))), parts, contributions)

    def _reward(self, name: str, kind: type) -> Any:
        reward = self.rewards[name]
        if not isinstance(reward, kind):
            raise IcgError(f"reward {name!r} is a {type(reward).__name__}; allowed here: a {kind.__name__}")
        return reward


def _mean_and_deviation(values: np.ndarray) -> tuple[float, float]:
    return (float(values.mean()), float(values.std())) if len(values) else (0.0, 1.0)


def _check_finite(name: str, finite: np.ndarray) -> None:
    if not finite.all():
        rows = np.flatnonzero(~finite)[:8].tolist()
        raise IcgError(f"reward {name!r} is not a number for covers {rows}; allowed: finite values")
