"""Grounds begin as drafts: the first steps draw them at a fraction of their size, the others refine them at the whole size.

A draft has a schedule of its own, to its end: what it would show in the middle of the brief's is blurred. It is enlarged, and noise of the
brief's next step is added to it (as SDEdit, arXiv:2108.01073, does to a picture). At half of the edge a step costs a quarter.

Where a ground has several layouts, the mean of the first noise says which: a small denoiser that is left to chance draws the mean of all,
and one that reads it in its conditions, beside a user who moves these much further, learns to overhear it (docs/log.md).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

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
    """Noise (B, C, h, w) for drafts of the layouts (B,): each moves channels of its own by LAYOUT. 0 layouts: as it was.

    The first `layouts` are those of grounds, the others those of studios, one for each other pair of channels.
    """
    if not layouts:
        return noise
    own = _channels(noise.shape[1], layouts)[layout]
    return noise + LAYOUT * own[:, :, None, None].to(noise)


@lru_cache(4)
def _channels(count: int, layouts: int) -> Tensor:
    """(K, count) bool: which channels each layout moves."""
    pairs = [pair for pair in combinations(range(count), 2) if pair[0] % layouts != pair[1] % layouts]
    grounds = torch.arange(count) % layouts == torch.arange(layouts)[:, None]
    return torch.cat([grounds, torch.zeros(len(pairs), count, dtype=torch.bool).scatter(1, torch.tensor(pairs), True)])
