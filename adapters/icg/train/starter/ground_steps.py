"""A training step on bare grounds: drafts, and their refinement. Knows no covers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icg.adapter.model import IcgAdapter
from icg.data.bank import AXES
from icg.draw.drafts import DRAFTED, enlarged, layout_noise
from icg.train.starter.bare_grounds import KINDS, Grounds
from icg.train.starter.ground_losses import draft_loss, refining_loss

Audience = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Looks (B, 4) -> users (B, 64) who like them, and what these like best (B, 4)."""


@dataclass(frozen=True)
class GroundsConfig:
    """Grounds are drafted at `draft` pixels an edge and refined at `side`, half as many as are drafted. `covers`: what users of the space
    engaged with. `drop_user`: share of the grounds for nobody. `encoded`: share of the others for `users` whom the starter's user encoder
    read from events. `late`: share of drafts that are nearly all noise. `taste`: weight of the probes. `carry`: steps of the adapter alone,
    before. `half`: in bfloat16, which takes half of the time on CPUs with AVX-512 BF16."""

    side: int = 256
    draft: int = 128
    covers: int = 12_000
    grounds: int = 784
    drop_user: float = 0.08
    encoded: float = 0.5
    users: int = 12_000
    late: float = 0.75
    taste: float = 0.1
    carry: int = 300
    half: bool = False


class Drawer(nn.Module):
    """What is trained: the adapter but for its meta tokens, the denoiser, and probes that keep the look readable in the conditioning."""

    def __init__(self, adapter: IcgAdapter, denoiser: nn.Module) -> None:
        super().__init__()
        self.adapter, self.denoiser = adapter.requires_grad_(True), denoiser.requires_grad_(True)
        adapter.meta_tokens.requires_grad_(False)
        self.looks = nn.ModuleList(nn.Linear(adapter.config.caption, len(axis)) for axis in AXES)

    def taste(self, embeds: Tensor, look: np.ndarray) -> Tensor:
        """embeds (B, M, W), look (B, 4) -> mean cross-entropy of style, palette, backdrop and framing."""
        mean, target = embeds.mean(1), torch.as_tensor(look).long()
        return torch.stack([F.cross_entropy(probe(mean), target[:, n]) for n, probe in enumerate(self.looks)]).mean()


class GroundSteps:
    """drafts, refined (N, C, h, w): latents of `grounds` at both sizes."""

    def __init__(
        self,
        model: Drawer,
        grounds: Grounds,
        drafts: Tensor,
        refined: Tensor,
        audience: Audience,
        config: GroundsConfig,
    ) -> None:
        self.model, self.grounds, self.drafts, self.refined = model, grounds, drafts, refined
        self.audience, self.config = audience, config

    def __call__(self, count: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Losses of `count` drafts, and of half as many that are refined."""
        config, denoiser = self.config, self.model.denoiser
        rows, embeds, taste = self._shown(count, config.drop_user, rng)
        x = self.drafts[rows].float()
        noise = layout_noise(torch.randn_like(x), torch.as_tensor(rows // KINDS), self.grounds.layouts)
        drafted = draft_loss(denoiser, x, noise, embeds, config.late)
        rows, embeds, _ = self._shown(max(1, count // 2), config.drop_user, rng)
        draft = enlarged(self.drafts[rows].float(), config.side // config.draft)
        refined = refining_loss(denoiser, self.refined[rows].float(), draft, embeds, 1 - DRAFTED)
        return {"drafted": drafted, "refined": refined, "taste": taste}

    def _shown(self, size: int, drop: float, rng: np.random.Generator) -> tuple[np.ndarray, Tensor, Tensor]:
        """Rows of grounds, the conditions of users who like them, nobody for a share `drop`, and the error of the probes on these."""
        rows, adapter = rng.integers(0, len(self.grounds.codes), size), self.model.adapter
        users, look = self.audience(self.grounds.looks(rows, rng), rng)
        users[rng.random(size) < drop] = 0
        known = users.any(1)
        embeds, _ = adapter(adapter.nothing.expand(size, -1, -1), torch.as_tensor(users))
        taste = self.model.taste(embeds[torch.as_tensor(known)], look[known]) if known.any() else torch.zeros(())
        return rows, embeds, taste
