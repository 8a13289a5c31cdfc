"""Policy-gradient alignment for rewards without gradients: the idea of Flow-GRPO (arXiv:2505.05470) for every family.

Sampling is random: each step replaces a share `eta` of the noise that its estimate implies by new noise (DDIM's eta, arXiv:2010.02502,
equations 12 and 16; for flows the same mixture of clean and noise), so each step is a Gaussian policy. Several covers of one brief are a
group; a cover's advantage is its reward minus the group's mean, over the group's deviation. Knows no data.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from icg.brief import Brief
from icg.draw.estimate import Encode, Estimate
from icg.draw.pipeline import CoverPipeline

Judge = Callable[[list[Image.Image], list[Brief]], np.ndarray]
"""Covers and their briefs (B) -> rewards (B,), for instance `lambda *a: mix(*a).total`."""


@dataclass(frozen=True)
class PolicyConfig:
    """group: covers a brief. eta in (0, 1]: share of new noise. steps: number of a sample's steps to train on.

    clip: of the probability ratio (PPO). kl: weight of the distance from the policy before training.
    """

    group: int = 8
    eta: float = 0.7
    steps: int = 2
    clip: float = 0.2
    kl: float = 0.02


class Policy(nn.Module):
    """The trained part: refiner and connector of the pipeline's adapter."""

    def __init__(self, pipeline: CoverPipeline, judge: Judge, config: PolicyConfig) -> None:
        super().__init__()
        self.pipeline, self.judge, self.config = pipeline, judge, config
        self.before = copy.deepcopy(pipeline.adapter).requires_grad_(False).forward
        self.adapter = pipeline.adapter.requires_grad_(False)
        self.adapter.refiner.requires_grad_(True)
        self.adapter.connector.requires_grad_(True)
        pipeline.family.denoiser.requires_grad_(False)

    def loss(self, briefs: list[Brief], rng: np.random.Generator) -> dict[str, Tensor]:
        """briefs (B): each is drawn `group` times from the same initial noise, so covers differ only by the policy's choices."""
        config, pipeline = self.config, self.pipeline
        briefs = [b for b in briefs for _ in range(config.group)]
        batch = pipeline.start(briefs)
        last = batch.total - 1
        with torch.no_grad():
            path = [batch.latents.clone()]
            for step in range(last):
                mean, spread = self._transition(Estimate(pipeline, batch, step, path[-1]), self.adapter)
                path.append(mean + spread * torch.randn_like(mean))
            end = Estimate(pipeline, batch, last, path[-1])
            images = pipeline.family.images(end.clean(end.predict(end.personal(self.adapter))))
        rewards = torch.as_tensor(self.judge(images, briefs), dtype=torch.float32).to(pipeline.device)
        groups = rewards.unflatten(0, (-1, config.group))
        advantage = ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)).flatten()
        objective, kl = rewards.new_zeros(()), rewards.new_zeros(())
        picked = rng.permutation(last)[: config.steps]
        for step in picked:
            at, after = Estimate(pipeline, batch, step, path[step]), path[step + 1]
            with torch.no_grad():
                old, spread = self._transition(at, self.adapter)
                reference, _ = self._transition(at, self.before)
            mean, _ = self._transition(at, self.adapter)
            # Means over dimensions, not sums: else the ratio of thousands of pixels would always be clipped.
            ratio = (((after - old).square() - (after - mean).square()).mean((1, 2, 3)) / (2 * spread**2)).exp()
            clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
            objective = objective + torch.minimum(ratio * advantage, clipped * advantage).mean() / len(picked)
            kl = kl + ((mean - reference).square().mean() / (2 * spread**2)) / len(picked)
        loss = -objective + config.kl * kl
        return {"loss": loss, "reward": rewards.mean(), "spread": groups.std(1).mean(), "kl": kl}

    def save(self, folder: Path) -> None:
        """Write the adapter for CoverPipeline.from_pretrained."""
        self.adapter.save_pretrained(folder)

    def _transition(self, at: Estimate, encode: Encode) -> tuple[Tensor, float]:
        """Mean (B, C, h, w) of the latents after this step under an adapter's policy, and their deviation."""
        clean = at.clean(at.predict(at.personal(encode)))
        now, after = at.now.mixture, at.after
        noise = (at.now.latents / now.scale - now.alpha * clean) / now.sigma
        spread = self.config.eta * after.sigma
        mean = after.alpha * clean + (after.sigma**2 - spread**2) ** 0.5 * noise
        return after.scale * mean, after.scale * spread
