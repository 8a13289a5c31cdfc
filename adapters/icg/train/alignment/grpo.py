"""Policy-gradient alignment for rewards without gradients: Flow-GRPO's idea (arXiv:2505.05470) for every family.

Sampling is made random: of the noise an estimate implies, a share `eta` is drawn anew at each step (DDIM's eta, arXiv:2010.02502,
equations 12 and 16; for flows the same mixture of clean and noise), so each step is a Gaussian policy. Several covers of one
brief are a group; a cover's advantage is its reward less the group's, over the group's deviation. Knows no data.
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
from icg.draw.pipeline import CoverPipeline
from icg.evaluate.reward_hacking import Watch
from icg.models.noise import mixture
from icg.train.loop import Fit, train

Judge = Callable[[list[Image.Image], list[Brief]], np.ndarray]
"""Covers and their briefs (B) -> rewards (B,), for instance `lambda *a: mix(*a).total`."""


@dataclass(frozen=True)
class PolicyConfig:
    """group: covers a brief. eta in (0, 1]: share of the noise drawn anew. steps: how many of a sample's steps are learned from.

    clip: of the probability ratio (PPO). kl: weight of the distance from the policy before training.
    """

    group: int = 8
    eta: float = 0.7
    steps: int = 2
    clip: float = 0.2
    kl: float = 0.02


class Policy(nn.Module):
    """What is trained: refiner and connector of the pipeline's adapter."""

    def __init__(self, pipeline: CoverPipeline, judge: Judge, config: PolicyConfig) -> None:
        super().__init__()
        self.pipeline, self.judge, self.config = pipeline, judge, config
        self.before = copy.deepcopy(pipeline.adapter).requires_grad_(False).forward
        self.adapter = pipeline.adapter.requires_grad_(False)
        self.adapter.refiner.requires_grad_(True)
        self.adapter.connector.requires_grad_(True)
        pipeline.family.denoiser.requires_grad_(False)

    def loss(self, briefs: list[Brief], rng: np.random.Generator) -> dict[str, Tensor]:
        """briefs (B): each is drawn `group` times from one first noise, so that what is learned from is all that differs."""
        config, family = self.config, self.pipeline.family
        briefs = [b for b in briefs for _ in range(config.group)]
        start = self.pipeline.start(briefs)
        scheduler, last = start.scheduler, start.total - 1
        items = torch.cat([self.pipeline._item(b) for b in briefs]).clone()
        users = torch.cat([self.pipeline._user(b) for b in briefs]).clone()
        guidance = torch.tensor([float(b.guidance) for b in briefs])[:, None, None, None]

        def clean_of(x: Tensor, step: int, embeds: Tensor, pooled: Tensor | None) -> Tensor:
            t = scheduler.timesteps[step]
            scaled = getattr(scheduler, "scale_model_input", lambda x, _: x)
            given = (scaled(x, t), t.expand(len(x)))
            with torch.no_grad():
                nothing = family.predict(*given, *self.adapter.unconditional(len(x)), briefs[0].size)
            said = family.predict(*given, embeds, pooled, briefs[0].size)
            return mixture(scheduler, step).clean(x, nothing + guidance * (said - nothing))

        def policy(x: Tensor, step: int, embeds: Tensor, pooled: Tensor | None) -> tuple[Tensor, float]:
            """Mean (B, C, h, w) of the next latents, and their deviation."""
            clean, now, after = (
                clean_of(x, step, embeds, pooled),
                mixture(scheduler, step),
                mixture(scheduler, step + 1),
            )
            noise = (x / now.scale - now.alpha * clean) / now.sigma
            spread = config.eta * after.sigma
            mean = after.alpha * clean + (after.sigma**2 - spread**2) ** 0.5 * noise
            return after.scale * mean, after.scale * spread

        with torch.no_grad():
            asked = self.adapter(items, users)
            path = [start.latents.clone()]
            for step in range(last):
                mean, spread = policy(path[-1], step, *asked)
                path.append(mean + spread * torch.randn_like(mean))
            covers = self.pipeline._images(clean_of(path[-1], last, *asked))
        rewards = torch.as_tensor(self.judge(covers, briefs), dtype=torch.float32)
        groups = rewards.unflatten(0, (-1, config.group))
        advantage = ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)).flatten()
        objective, apart = torch.zeros(()), torch.zeros(())
        picked = rng.permutation(last)[: config.steps]
        for step in picked:
            x, drawn = path[step], path[step + 1]
            with torch.no_grad():
                old, spread = policy(x, step, *asked)
                held, _ = policy(x, step, *self.before(items, users))
            mean, _ = policy(x, step, *self.adapter(items, users))
            # Means over dimensions instead of sums: the ratio of thousands of pixels would always be clipped.
            ratio = (((drawn - old).square() - (drawn - mean).square()).mean((1, 2, 3)) / (2 * spread**2)).exp()
            kept = ratio.clamp(1 - config.clip, 1 + config.clip)
            objective = objective + torch.minimum(ratio * advantage, kept * advantage).mean() / len(picked)
            apart = apart + ((mean - held).square().mean() / (2 * spread**2)) / len(picked)
        loss = -objective + config.kl * apart
        return {"loss": loss, "reward": rewards.mean(), "spread": groups.std(1).mean(), "kl": apart}


def run(
    folder: Path, model: Policy, draw: Callable[[np.random.Generator, int], list[Brief]], fit: Fit, watch: Watch,
    until: int | None = None,
) -> dict[str, float]:  # fmt: skip
    """`draw(rng, count)` gives training briefs. Stops early when the watch says that rewards are being hacked."""
    torch.manual_seed(fit.seed)
    watch.look(0, model.pipeline)

    def saved(step: int, _: nn.Module) -> bool:
        model.adapter.save_pretrained(folder / "adapter")
        return watch.look(step, model.pipeline)

    return train(folder, model, fit, lambda _, rng: model.loss(draw(rng, fit.batch), rng), model.config, until, saved)
