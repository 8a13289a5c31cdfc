"""Grounds begin as drafts: the first steps draw them at a fraction of their size, the others refine them at the whole size.

A draft has a schedule of its own, to its end: what it would show in the middle of the brief's is blurred. It is enlarged, and noise of the
brief's next step is added to it (as SDEdit, arXiv:2108.01073, does to a picture). At half of the edge a step costs a quarter.

Where a ground has several layouts, the mean of the first noise says which: a small denoiser that is left to chance draws the mean of all,
and one that reads it in its conditions, beside a user who moves these much further, learns to overhear it (docs/log.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DRAFTED = 0.6
"""Share of the steps that draft."""
LAYOUT = 1.5
"""How far the noise of a layout is moved."""


def draft_steps(steps: int, factor: int) -> int:
    """How many of a ground's `steps` draft; factor: edge of the ground over that of its draft."""
    return min(max(1, round(DRAFTED * steps)), steps - 1) if factor > 1 else 0


def enlarged(latents: Tensor, factor: int) -> Tensor:
    """(B, C, h, w) latents -> (B, C, factor h, factor w)."""
    return F.interpolate(latents, scale_factor=factor, mode="bicubic") if factor > 1 else latents


def layout_noise(noise: Tensor, layout: Tensor, layouts: int) -> Tensor:
    """Noise (B, C, h, w) for drafts of the layouts (B,) of `layouts`: each moves channels of its own by LAYOUT. 0 layouts: as it was."""
    if not layouts:
        return noise
    own = torch.arange(noise.shape[1]) % layouts == layout[:, None] % layouts
    return noise + LAYOUT * own[:, :, None, None].to(noise)
