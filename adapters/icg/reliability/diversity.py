"""How varied the scenes around products are: RFFT must not make them alike (arXiv:2408.00418, its collapse of backgrounds)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from icg.products.inpainting import planes

SMALL, LEVELS = 32, 4
FREE = 1 / 16
"""A pixel is background if the product covers less of it than this."""


def backgrounds(pictures: Tensor, placed: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, H, W) in [-1, 1] and their placed products -> pictures (N, 3, SMALL, SMALL) in 0..255, and a mask of the
    background (N, SMALL, SMALL)."""
    alpha = torch.cat([planes(p)[:, 3:] for p in placed]).to(pictures.device)
    small, covered = (F.interpolate(x, (SMALL, SMALL), mode="area") for x in (pictures.float(), alpha))
    return (small + 1) * 127.5, covered[:, 0] < FREE


def distances(pictures: Tensor, placed: Sequence[Image.Image], each: int) -> Tensor:
    """For each pair among `each` consecutive pictures: mean distance of colours in their common background, 0..441. Differentiable.

    (N, 3, H, W) in [-1, 1] -> (N / each * each * (each - 1) / 2,).
    """
    small, free = backgrounds(pictures, placed)
    pairs = []
    for first in range(0, len(small), each):
        for a, b in combinations(range(first, first + each), 2):
            difference = small[a] - small[b]
            # The square root has no gradient at 0.
            pairs.append((difference.square().sum(0) + 1e-6).sqrt()[free[a] & free[b]].mean())
    return torch.stack(pairs)


def entropy(pictures: Tensor, placed: Sequence[Image.Image]) -> float:
    """Entropy of the colours of all backgrounds together, in bits: 0 for one colour, 6 for a uniform distribution."""
    small, free = backgrounds(pictures, placed)
    level = (small * LEVELS / 256).long().clamp(0, LEVELS - 1)
    colours = (level[:, 0] * LEVELS + level[:, 1]) * LEVELS + level[:, 2]
    shares = torch.bincount(colours[free], minlength=LEVELS**3) / free.sum()
    return -float((shares * shares.clamp(min=1e-12).log2()).sum())
