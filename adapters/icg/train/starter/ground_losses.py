"""What grounds are learned by: drafts at a small size with guidance built in, and their refinement at the full size. Knows no data.

`icg.draw.drafts` draws by them. Cascades (arXiv:2106.15282) have a model for each size; this is one model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

REFINED = 0.6
"""Most noise that refining learns."""
AROUND = 0.1
"""Half the width of the band of noise around which a draft is handed over, in training."""


def draft_loss(denoiser: Any, x: Tensor, embeds: Tensor, nothing: Tensor, noise: float, guidance: float) -> Tensor:
    """E ||v(x_t, t) - target||^2 of clean x (B, C, h, w) under conditions `embeds` (B, M, W); `nothing` (B, M, W): those for nobody.

    t is logit-normal around sigmoid(noise). The target is noise - x, moved away from the prediction for nobody (arXiv:2502.12154): one row
    then draws as `guidance` does with two. 1 for no guidance.
    """
    t = torch.sigmoid(torch.randn(len(x)) + noise)
    s, eps = t[:, None, None, None], torch.randn_like(x)
    mixed = (1 - s) * x + s * eps
    v, target = _velocity(denoiser, mixed, embeds, t), eps - x
    if guidance > 1:
        with torch.no_grad():
            # v = target + share (v - nobody) has the solution nobody + (target - nobody) / (1 - share).
            target = target + (1 - 1 / guidance) * (v - _velocity(denoiser, mixed, nothing, t))
    return (v - target).square().mean()


def refining_loss(denoiser: Any, x: Tensor, draft: Tensor, embeds: Tensor, handed_over: float) -> Tensor:
    """That of draft_loss at the full size, for noise up to REFINED and without guidance. Half of the rows begin from `draft`, (B, C, h, w)
    enlarged latents of the same pictures, at about the share of noise where drafts are `handed_over`, and are to end at x."""
    count = len(x)
    begins = torch.rand(count) < 0.5
    t = torch.where(begins, handed_over + AROUND * (2 * torch.rand(count) - 1), 0.02 + REFINED * torch.rand(count))
    s = t[:, None, None, None]
    mixed = (1 - s) * torch.where(begins[:, None, None, None], draft, x) + s * torch.randn_like(x)
    return (_velocity(denoiser, mixed, embeds, t) - (mixed - x) / s).square().mean()


def _velocity(denoiser: Any, x: Tensor, embeds: Tensor, t: Tensor) -> Tensor:
    velocity: Tensor = denoiser(x, encoder_hidden_states=embeds, timestep=t * 1000, return_dict=False)[0]
    return velocity
