"""The interfaces of rewards, on pictures and on tensors, and the steps that all of them share. Knows no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from icg.brief import Brief
from icg.errors import IcgError
from icg.models.joint import pixels as pixels

BATCH = 64
"""Pictures in one call of a model."""


@runtime_checkable
class Reward(Protocol):
    """`name` is its key in scores; `range` is (low, high), both reachable; higher is better."""

    name: str
    range: tuple[float, float]

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        """images and briefs of equal length B -> (B,) float32 within `range`."""


@runtime_checkable
class TensorReward(Protocol):
    """A reward with gradients for the pixels, for alignment training. Most rewards here are both kinds."""

    name: str
    range: tuple[float, float]

    def tensor(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        """images (B, 3, H, W) in [-1, 1] on the reward's device -> (B,), differentiable in `images`.

        Equals the reward of the same pictures as PIL images up to their rounding to bytes. Not clipped to `range`,
        so that no gradient is lost. The reward's own weights are frozen.
        """


class PixelReward:
    """A reward of both kinds. `_rate` takes pictures of `side` pixels, or what a subclass's `_pictures` and `_pixels` return."""

    name: str
    range: tuple[float, float]
    side: int

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        """(B,) float32."""
        return collect(lambda i, b: self._rate(self._pictures(i), b), images, briefs, self.range)

    def tensor(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        """images (B, 3, H, W) in [-1, 1] -> (B,)."""
        check_tensor(images, briefs)
        return self._rate(self._pixels(images), briefs)

    def _pictures(self, images: Sequence[Image.Image]) -> Tensor:
        return pixels(images, self.side)

    def _pixels(self, images: Tensor) -> Tensor:
        return resized(images, self.side)

    def _rate(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        """images (B, ...) -> (B,), with gradients."""
        raise NotImplementedError


def check_pairs(images: Sequence[object] | Tensor, briefs: Sequence[Brief]) -> None:
    """Raise IcgError unless there is one brief per image."""
    if len(images) != len(briefs):
        raise IcgError(f"images={len(images)} with briefs={len(briefs)}; allowed: as many of each")


def check_tensor(images: Tensor, briefs: Sequence[Brief]) -> None:
    """Raise IcgError unless `images` is floating (B, 3, H, W) with one brief each."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise IcgError(f"images of shape {tuple(images.shape)}, {images.dtype}; allowed: floating (B, 3, H, W)")
    check_pairs(images, briefs)


def resized(images: Tensor, side: int) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> (B, 3, side, side) with the filter of `pixels`, clamped as bytes are."""
    if images.shape[2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="lanczos", antialias=True).clamp(-1, 1)


@torch.no_grad()
def collect(
    rate: Callable[[list[Image.Image], list[Brief]], Tensor],
    images: list[Image.Image],
    briefs: list[Brief],
    bounds: tuple[float, float],
) -> np.ndarray:
    """Apply `rate`, (b pictures, b briefs) -> (b,), to batches -> (B,) float32 clipped to `bounds`; NaN stays NaN."""
    check_pairs(images, briefs)
    rows = [rate(images[i : i + BATCH], briefs[i : i + BATCH]).float().cpu() for i in range(0, len(images), BATCH)]
    return np.clip(torch.cat(rows).numpy(), *bounds).astype(np.float32) if rows else np.zeros(0, np.float32)
