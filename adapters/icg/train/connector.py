"""Connector pre-training on any family: draw a cover from its own reading, denoiser and VLM frozen.

MetaQueries (arXiv:2504.06256): the diffusion model's own loss is the only teacher. Knows no dataset.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from icg.adapter import IcgAdapter
from icg.families import Family
from icg.noise import random_mixture


def loss_of(
    family: Family, adapter: IcgAdapter, scheduler: Any, pixels: Tensor, items: Tensor, users: Tensor
) -> Tensor:
    """pixels (B, 3, H, W) in [-1, 1], items (B, M, D_vlm), users (B, U) -> the family's training loss, a scalar."""
    with torch.no_grad():
        clean = family.encode(pixels)
    mixed, timesteps = random_mixture(scheduler, len(clean))
    noise = torch.randn_like(clean)
    embeds, pooled = adapter(items, users)
    size = (pixels.shape[3], pixels.shape[2])
    said = family.predict(mixed.latents(clean, noise), timesteps, embeds, pooled, size)
    return (said - mixed.target(clean, noise)).square().mean()
