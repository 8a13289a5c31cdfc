"""What a reward is. Knows no model."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from icg.brief import Brief
from icg.errors import IcgError


@runtime_checkable
class Reward(Protocol):
    """`name` as it appears in scores; `range` (low, high), both reachable; higher is better."""

    name: str
    range: tuple[float, float]

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        """images and briefs of equal length B -> (B,) float32 within `range`."""
        ...


def check_pairs(images: list[Image.Image], briefs: list[Brief]) -> None:
    """IcgError when there is not one brief per image."""
    if len(images) != len(briefs):
        raise IcgError(f"images={len(images)} with briefs={len(briefs)}; allowed: as many of each")
