"""Personalised alignment without labels: rewards' gradients through the last steps of sampling, into refiner and connector.

ReFL (arXiv:2304.05977): sample without gradients to a random late step, estimate the clean cover in one step, decode it and maximise the
mixed rewards. Each item is drawn for several users: a dispersion term separates their covers along the difference of their tastes.
Two terms keep what was learned before: consistent condition (arXiv:2408.00418, L_CC) holds the direction in which the item alone moves
the prediction, and leaves the user's part free; KL holds the whole prediction for item and user, and so what users may change.
Works on any CoverPipeline. Knows no data.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from icg.adapter.model import IcgAdapter
from icg.brief import Brief
from icg.draw.estimate import Estimate
from icg.draw.pipeline import CoverPipeline
from icg.errors import IcgError
from icg.rewards.mix import Mix


@dataclass(frozen=True)
class AlignConfig:
    """late: the gradient enters at a random one of so many last steps. users: number of consecutive briefs that share an item.

    dispersion, consistency, kl: weights of the terms; `temperature` of distances in the dispersion. lora: rank of a low-rank
    adapter (arXiv:2106.09685) on the denoiser's attention, 0 for none.
    """

    late: int = 3
    users: int = 2
    dispersion: float = 0.5
    temperature: float = 0.5
    consistency: float = 1.0
    kl: float = 0.0
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
        self._before = (copy.deepcopy(pipeline.adapter).requires_grad_(False),)
        """In a tuple it is no submodule: checkpoints hold only trained weights."""
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
        pixels = family.decode(at.clean(personal)).clamp(-1, 1)
        mixed = self.mix.tensor(pixels, briefs)
        users = torch.cat([self.pipeline.user(brief) for brief in briefs])
        dispersion = self.dispersion(self.looks(pixels), users)
        kl = self.kl(at, personal)
        with torch.set_grad_enabled(config.consistency > 0):
            consistency = self.consistency(at)
        reward = mixed.total.mean()
        loss = -reward + config.dispersion * dispersion + config.consistency * consistency + config.kl * kl
        parts = {name: values.mean() for name, values in mixed.parts.items()}
        terms = {"dispersion": dispersion, "consistency": consistency, "kl": kl}
        return {"loss": loss, "reward": reward, **terms, **parts}

    def consistency(self, at: Estimate) -> Tensor:
        """Mean square change, since before training, of ε(item, nobody) − ε(nothing)."""
        nothing, item = (at.predict(condition) for condition in at.unpersonal(self.adapter))
        with self._before_training() as adapter:
            nothing_before, item_before = (at.predict(condition) for condition in at.unpersonal(adapter))
        return ((item - nothing) - (item_before - nothing_before)).square().mean()

    def kl(self, at: Estimate, personal: Tensor) -> Tensor:
        """Mean square change of the prediction for item and user: the KL divergence of two Gaussians of equal spread, but for a factor."""
        with self._before_training() as adapter:
            before = at.predict(at.personal(adapter))
        return (personal - before).square().mean()

    @contextmanager
    def _before_training(self) -> Iterator[IcgAdapter]:
        """The adapter before training, beside a denoiser without its LoRA."""
        denoiser = self.pipeline.family.denoiser
        if self.config.lora:
            denoiser.disable_adapters()
        try:
            with torch.no_grad():
                yield self._before[0]
        finally:
            if self.config.lora:
                denoiser.enable_adapters()

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
