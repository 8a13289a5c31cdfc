"""A training step on bare grounds: drafts, and their refinement. Knows no covers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icg.adapter.model import IcgAdapter
from icg.data.bank import AXES
from icg.data.compose import PALETTES
from icg.draw.drafts import DRAFTED, enlarged, layout_noise
from icg.train.starter.bare_grounds import KINDS, Grounds, studio_looks
from icg.train.starter.ground_losses import draft_loss, refining_loss

Audience = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Looks (B, 4) -> users (B, 64) who like them, and what these like best (B, 4)."""


@dataclass(frozen=True)
class GroundsConfig:
    """Grounds are drafted at `draft` pixels an edge and refined at `side`, half as many as are drafted. `covers`: what users of the space
    engaged with. `drop_user`: share of the grounds for nobody. `encoded`: share of the others for `users` whom the starter's user encoder
    read from events. `late`: share of drafts that are nearly all noise. `taste`: weight of the probes. `carry`: steps of the adapter alone,
    before. `furnished`: share of studios. `typical`: share of the rows for typical users. `half`:
    in bfloat16, which takes half of the time on CPUs with AVX-512 BF16."""

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
    furnished: float = 0.5
    typical: float = 0.7


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


class Latents(NamedTuple):
    """Of pictures at both sizes, each (N, C, h, w)."""

    drafts: Tensor
    refined: Tensor


class GroundSteps:
    """bare, furnished: latents of `grounds`, and of studios in all palettes in turn if these are learned. typical (palettes, backdrops,
    64): who likes one of each."""

    def __init__(
        self,
        model: Drawer,
        grounds: Grounds,
        bare: Latents,
        furnished: Latents | None,
        audience: Audience,
        typical: np.ndarray,
        config: GroundsConfig,
    ) -> None:
        self.model, self.grounds, self.audience, self.config = model, grounds, audience, config
        self.latents = bare if furnished is None else Latents(*map(torch.cat, zip(bare, furnished, strict=True)))
        palettes = typical.mean(1)
        self.typical, self.palettes = (
            typical,
            palettes / np.maximum(np.linalg.norm(palettes, axis=1, keepdims=True), 1e-6),
        )

    def __call__(self, count: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Losses of `count` drafts, and of half as many that are refined."""
        config, denoiser = self.config, self.model.denoiser
        rows, embeds, taste = self._shown(count, rng)
        x = self.latents.drafts[rows].float()
        noise = layout_noise(torch.randn_like(x), torch.as_tensor(self._layout(rows)), self.grounds.layouts)
        drafted = draft_loss(denoiser, x, noise, embeds, config.late)
        rows, embeds, _ = self._shown(max(1, count // 2), rng)
        draft = enlarged(self.latents.drafts[rows].float(), config.side // config.draft)
        refined = refining_loss(denoiser, self.latents.refined[rows].float(), draft, embeds, 1 - DRAFTED)
        return {"drafted": drafted, "refined": refined, "taste": taste}

    def _layout(self, rows: np.ndarray) -> np.ndarray:
        """(B,): the layouts of grounds come before those of studios."""
        first = len(self.grounds.codes)
        return np.where(rows < first, rows // KINDS, self.grounds.layouts + (rows - first) // len(PALETTES))

    def _shown(self, size: int, rng: np.random.Generator) -> tuple[np.ndarray, Tensor, Tensor]:
        """Rows of grounds, and behind these of studios; the conditions of users who like them; and the error of the probes on these. Most
        are for the typical users that a user is read as, some grounds are for nobody."""
        config, adapter, first = self.config, self.model.adapter, len(self.grounds.codes)
        furnished = round(size * config.furnished)
        rows = rng.integers(0, first, size - furnished)
        behind = rng.integers(first, len(self.latents.drafts), furnished) if furnished else rows[:0]
        looks = np.concatenate([self.grounds.looks(rows, rng), studio_looks(behind - first, rng)])
        users, look = self.audience(looks, rng)
        # What a clear user is known to like replaces the look, but a studio has the palette that it has.
        bare, chance = np.arange(size) < len(rows), rng.random(size)
        typical = (chance < config.typical) | (~bare & ~users.any(1))
        users[typical & bare] = self.typical[looks[typical & bare, 1], looks[typical & bare, 2]]
        users[typical & ~bare] = self.palettes[looks[typical & ~bare, 1]]
        users[bare & (chance > 1 - config.drop_user)] = 0
        items = [adapter.nothing.expand(len(rows), -1, -1)]
        if furnished:
            items.append(adapter.studios.tokens.expand(furnished, -1, -1))
        embeds, _ = adapter(torch.cat(items), torch.as_tensor(users))
        known = users.any(1) & ~typical
        taste = self.model.taste(embeds[torch.as_tensor(known)], look[known]) if known.any() else torch.zeros(())
        return np.concatenate([rows, behind]), embeds, taste
