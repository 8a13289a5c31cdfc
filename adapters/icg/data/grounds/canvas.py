"""A canvas with anti-aliased masks, in shares of the side: the same calls draw the same picture at any side. Knows no palette."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

FINE = 4
"""Polygons are drawn this many times larger, then reduced."""


@lru_cache(4)
def grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the pixels' centres in 0..1, each (side, side) float32. Do not write to them."""
    middle = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = np.meshgrid(middle, middle)
    return x, y


def smooth(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between them. `low` may exceed `high`: then it falls."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


class Canvas:
    """`rgb` (side, side, 3) float32 in 0..255, `x` and `y` (side, side) in 0..1, y downwards. Masks are (side, side) float32 in 0..1."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.x, self.y = grid(side)
        self.rgb = np.zeros((side, side, 3), np.float32)

    def paint(self, mask: np.ndarray, colour: np.ndarray) -> None:
        """Lay `colour`, (3,) or (side, side, 3), over the picture where `mask` is."""
        self.rgb += (colour - self.rgb) * mask[..., None]

    def cover(self, distance: np.ndarray) -> np.ndarray:
        """The mask of what lies at a positive `distance`, in shares of the side, with an edge one pixel wide."""
        return np.clip(distance * self.side + 0.5, 0, 1)

    def below(self, curve: np.ndarray) -> np.ndarray:
        """The mask below a curve: `curve` (side,) is its y at each column."""
        slope = np.gradient(curve) * self.side
        return self.cover((self.y - curve) / np.sqrt(1 + slope * slope))

    def radius(self, cx: float, cy: float) -> np.ndarray:
        """Distance of each pixel from a point."""
        return np.sqrt((self.x - cx) ** 2 + (self.y - cy) ** 2)

    def disc(
        self, cx: float, cy: float, radius: float, colour: np.ndarray, opacity: float = 1, soft: float = 0
    ) -> None:
        """Paint a disc, whose edge is `soft` wide (at least a pixel)."""
        reach = radius + soft + 1 / self.side
        box = tuple(
            slice(max(0, int((c - reach) * self.side)), max(0, int((c + reach) * self.side) + 2)) for c in (cy, cx)
        )
        away = np.sqrt((self.x[box] - cx) ** 2 + (self.y[box] - cy) ** 2)
        mask = np.clip((radius - away) / max(soft, 1 / self.side) + 0.5, 0, 1) * np.float32(opacity)
        part = self.rgb[box]
        part += (colour - part) * mask[..., None]

    def polygons(self, outlines: Sequence[np.ndarray]) -> np.ndarray:
        """The mask of polygons, each (N, 2) points x, y."""
        fine = self.side * FINE
        image = Image.new("L", (fine, fine))
        draw = ImageDraw.Draw(image)
        for outline in outlines:
            draw.polygon((outline * fine - 0.5).ravel().tolist(), fill=255)
        return np.asarray(image.reduce(FINE), np.float32) / 255

    def shadow(self, mask: np.ndarray, dx: float, dy: float, blur: float) -> np.ndarray:
        """`mask` moved by (dx, dy) and blurred; drawn on a small grid, as shadows have no detail."""
        small = Image.fromarray((mask * 255).astype(np.uint8)).resize((64, 64), Image.Resampling.BOX)
        kernel = max(1, round(blur * 64))
        wide = np.pad(np.asarray(small, np.float32) / 255, 2 * kernel + 8, mode="edge")
        for axis in (0, 1):
            for _ in range(2):  # two boxes make a tent, which is near a Gaussian
                wide = _box(wide, kernel, axis)
        start = 2 * kernel + 8
        picture = Image.fromarray(np.ascontiguousarray(wide, np.float32))
        box = (start - dx * 64, start - dy * 64, start - dx * 64 + 64, start - dy * 64 + 64)
        moved = picture.resize((self.side, self.side), Image.Resampling.BICUBIC, box=box)
        return np.clip(np.asarray(moved, np.float32), 0, 1)


def _box(values: np.ndarray, reach: int, axis: int) -> np.ndarray:
    """The mean of 2 `reach` + 1 neighbours along an axis; edges wrap, so pad first."""
    return sum(np.roll(values, shift, axis) for shift in range(-reach, reach + 1)) / (2 * reach + 1)
