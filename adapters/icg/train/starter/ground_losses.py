"""What grounds are learned by: drafts at a small size, and their refinement at the full size. Knows no data.

`icg.draw.drafts` draws by them. Cascades (arXiv:2106.15282) have a model for each size; this is one model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NOISE, EARLIEST = 0.2, 0.35
"""Of the times of drafts."""
REFINED = 0.6
"""Most noise that refining learns."""
BEGUN = 0.75
"""Share of the refined rows that begin from a draft."""
AROUND = 0.1
"""Half the width of the band of noise around which a draft is handed over, in training."""


def draft_loss(denoiser: Any, x: Tensor, noise: Tensor, embeds: Tensor, late: float) -> Tensor:
    """E ||v(x_t, t) - (noise - x)||^2 of clean x and noise (B, C, h, w) under conditions `embeds` (B, M, W), without guidance.

    Most of a picture is decided while it is still noise, and a picture that is said by its conditions can be decided there: a share `late`
    of the rows have t in 1 - EARLIEST..1, most of them near 1, where the usual times, logit-normal around sigmoid(NOISE), hardly come.
    """
    near = 1 - EARLIEST * torch.rand(len(x)).square()
    t = torch.where(torch.rand(len(x)) < late, near, torch.sigmoid(torch.randn(len(x)) + NOISE))
    s = t[:, None, None, None]
    return (_velocity(denoiser, (1 - s) * x + s * noise, embeds, t) - (noise - x)).square().mean()


def refining_loss(denoiser: Any, x: Tensor, draft: Tensor, embeds: Tensor, handed_over: float) -> Tensor:
    """That of draft_loss at the full size, for noise up to REFINED. A share BEGUN of the rows begins from `draft`, (B, C, h, w)
    enlarged latents of the same pictures, at about the share of noise where drafts are `handed_over`, and is to end at x."""
    count = len(x)
    begins = torch.rand(count) < BEGUN
    t = torch.where(begins, handed_over + AROUND * (2 * torch.rand(count) - 1), 0.02 + REFINED * torch.rand(count))
    s = t[:, None, None, None]
    mixed = (1 - s) * torch.where(begins[:, None, None, None], draft, x) + s * torch.randn_like(x)
    return (_velocity(denoiser, mixed, embeds, t) - (mixed - x) / s).square().mean()


def _velocity(denoiser: Any, x: Tensor, embeds: Tensor, t: Tensor) -> Tensor:
    velocity: Tensor = denoiser(x, encoder_hidden_states=embeds, timestep=t * 1000, return_dict=False)[0]
    return velocity
