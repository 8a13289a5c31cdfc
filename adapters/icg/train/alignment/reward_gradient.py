"""Personalised alignment without labels: rewards' gradients through the last steps of sampling, into refiner and connector.

ReFL (arXiv:2304.05977): sample without gradients to a random late step, estimate the clean cover in one step, decode it and maximise the
mixed rewards. Each item is drawn for several users: a dispersion term separates their covers along the difference of their tastes, and a
consistent-condition term (arXiv:2408.00418, L_CC) keeps the denoiser's predictions near those before training.
Works on any CoverPipeline. Knows no data.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from icg.brief import Brief
from icg.draw.estimate import Estimate
from icg.draw.pipeline import CoverPipeline
from icg.errors import IcgError
from icg.rewards.mix import Mix


@dataclass(frozen=True)
class AlignConfig:
    """late: the gradient enters at a random one of so many last steps. users: number of consecutive briefs that share an item.

    dispersion, consistency: weights of the two terms; `temperature` of distances in the dispersion. lora: rank of a low-rank
    adapter (arXiv:2106.09685) on the denoiser's attention, 0 for none.
    """

    late: int = 3
    users: int = 2
    dispersion: float = 0.5
    temperature: float = 0.5
    consistency: float = 1.0
    lora: int = 0


class Aligner(nn.Module):
    """The trained part: refiner and connector of the pipeline's adapter, and LoRA weights if configured.

    looks: pixels (B, 3, H, W) -> unit rows (B, D), the space in which covers of different users must differ.
    """

    def __init__(
        self, pipeline: CoverPipeline, mix: Mix, looks: Callable[[Tensor], Tensor], config: AlignConfig
    ) -> None:
        super().__init__()
        self.pipeline, self.mix, self.looks, self.config = pipeline, mix, looks, config
        before = copy.deepcopy(pipeline.adapter).requires_grad_(False)
        self.before = before.forward  # not a submodule: checkpoints hold only trained weights
        self.adapter = pipeline.adapter.requires_grad_(False)
        self.adapter.refiner.requires_grad_(True)
        self.adapter.connector.requires_grad_(True)
        pipeline.family.denoiser.requires_grad_(False)
        if config.lora:
            pipeline.family.add_lora(config.lora)
        self.lora = nn.ParameterList(p for p in pipeline.family.denoiser.parameters() if p.requires_grad)

    def loss(self, briefs: list[Brief], rng: np.random.Generator) -> dict[str, Tensor]:
        """briefs (B), `users` consecutive ones of each item -> the loss and its parts."""
        config, family = self.config, self.pipeline.family
        if len(briefs) % config.users:
            raise IcgError(f"briefs={len(briefs)}; allowed: a multiple of users={config.users}")
        batch = self.pipeline.start(briefs)
        stop = max(0, batch.total - 1 - int(rng.integers(config.late)))
        while batch.done < stop:
            self.pipeline.step(batch)
        at = Estimate(self.pipeline, batch)
        personal = at.predict(at.personal(self.adapter))
        with torch.no_grad():
            before = at.predict(at.personal(self.before))
        pixels = family.decode(at.clean(personal)).clamp(-1, 1)
        mixed = self.mix.tensor(pixels, briefs)
        users = torch.cat([self.pipeline.user(brief) for brief in briefs])
        dispersion = self.dispersion(self.looks(pixels), users)
        consistency = (personal - before).square().mean()
        reward = mixed.total.mean()
        loss = -reward + config.dispersion * dispersion + config.consistency * consistency
        parts = {name: values.mean() for name, values in mixed.parts.items()}
        return {"loss": loss, "reward": reward, "dispersion": dispersion, "consistency": consistency, **parts}

    def dispersion(self, looks: Tensor, users: Tensor) -> Tensor:
        """looks (B, D), users (B, D), unit rows -> mean exp(-margin / temperature) over pairs of users of one item.

        margin = (c_i - c_j) (u_i - u_j) / |u_i - u_j|: covers must differ along the difference of their users; in any other
        direction they only leave their taste. A pair's weight is the distance of the users: equal users may have equal covers.
        """
        count = self.config.users
        covers, people = looks.unflatten(0, (-1, count)), users.unflatten(0, (-1, count))
        difference = people[:, :, None] - people[:, None]  # (items, users, users, D)
        distance = difference.norm(dim=-1)
        margin = ((covers[:, :, None] - covers[:, None]) * difference).sum(-1) / distance.clamp(min=1e-6)
        return (distance * torch.exp(-margin / self.config.temperature)).sum() / distance.sum().clamp(min=1e-6)

    def save(self, folder: Path) -> None:
        """Write the adapter, and its LoRA, for CoverPipeline.from_pretrained."""
        self.adapter.save_pretrained(folder)
        if self.config.lora:
            self.pipeline.family.save_lora(folder / "lora")
