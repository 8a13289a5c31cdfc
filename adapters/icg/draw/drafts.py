"""Grounds begin as drafts: the first steps draw them at a fraction of their size, the others refine them at the whole size.

A draft has a schedule of its own, to its end: what it would show in the middle of the brief's is blurred. It is enlarged, and noise of the
brief's next step is added to it (as SDEdit, arXiv:2108.01073, does to a picture). At half of the edge a step costs a quarter.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

DRAFTED = 0.6
"""Share of the steps that draft."""


def draft_steps(steps: int, factor: int) -> int:
    """How many of a ground's `steps` draft; factor: edge of the ground over that of its draft."""
    return min(max(1, round(DRAFTED * steps)), steps - 1) if factor > 1 else 0


def enlarged(latents: Tensor, factor: int) -> Tensor:
    """(B, C, h, w) latents -> (B, C, factor h, factor w)."""
    return F.interpolate(latents, scale_factor=factor, mode="bicubic") if factor > 1 else latents
