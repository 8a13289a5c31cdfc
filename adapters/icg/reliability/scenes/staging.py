"""Puts cut-outs on a ground: scale by nearness, shadows, true depth and saliency, and the defects. Deterministic for a given `rng`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from icg.data.art import STYLES, Subject
from icg.reliability.scenes.ground import Place

FINE = 2
"""Scenes are drawn this many times larger, then scaled down."""


@dataclass(frozen=True, eq=False)
class Item:
    """A cropped cut-out with its `foot` at a row and its middle at column `x`; all in shares of the side.

    gap: how far it hangs above `foot`, in heights; below 0 it is sunk.
    """

    sprite: np.ndarray
    foot: float
    x: float
    height: float
    gap: float = 0.0

    @property
    def width(self) -> float:
        """In shares of the side."""
        return self.height * self.sprite.shape[1] / self.sprite.shape[0]

    def apart(self, other: Item) -> bool:
        """Whether they hide little of each other."""
        across = abs(self.x - other.x) - (self.width + other.width) / 2
        return across > -0.25 * min(self.width, other.width)


def sprite(subject: Subject, rng: np.random.Generator) -> np.ndarray:
    """(S, S, 4) uint8 in one of the coloured styles, mirrored or not. The ink style has no filled area."""
    pixels = subject.sprites[STYLES[int(rng.integers(3))]]
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def cropped(cut_out: np.ndarray) -> np.ndarray:
    """Without empty rows and columns."""
    rows, columns = np.nonzero(cut_out[..., 3] > 24)
    return cut_out[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def framed(cut_out: np.ndarray, side: int) -> Image.Image:
    """RGBA (side, side) with the cut-out in its middle."""
    picture = Image.fromarray(np.ascontiguousarray(cut_out))
    factor = side * 0.94 / max(picture.size)
    picture = picture.resize(
        (max(1, round(picture.width * factor)), max(1, round(picture.height * factor))), Image.Resampling.LANCZOS
    )
    out = Image.new("RGBA", (side, side))
    out.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return out


def mean_colour(cut_out: np.ndarray) -> np.ndarray:
    """Mean (3,) of the opaque pixels, 0..255."""
    colour: np.ndarray = cut_out[cut_out[..., 3] > 128][:, :3].mean(0)
    return colour


def extended(cut_out: np.ndarray, severity: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The cut-out with an added part, and that part's share of its area: stretched, doubled, or with a lump."""
    height, width = cut_out.shape[:2]
    kind, share = rng.integers(3), 0.15 + 0.45 * severity
    if kind == 0:  # stretch its lower or upper half
        half, more = height // 2, round(height * (0.2 + 0.6 * severity))
        upper, lower = cut_out[:half], cut_out[half:]
        out = np.concatenate([upper, _taller(lower, more)] if rng.random() < 0.5 else [_taller(upper, more), lower])
    elif kind == 1:  # repeat a piece at its side
        piece = max(4, round(width * share))
        out = np.concatenate([cut_out, cut_out[:, -piece:][:, ::-1]], 1)
        out[:, width:, 3] = np.where(np.arange(height)[:, None] > height * 0.25, out[:, width:, 3], 0)
    else:  # add a lump of its own colours
        radius = round(0.28 * min(height, width) * (0.8 + severity))
        out = np.zeros((height, width + radius, 4), np.uint8)
        out[:, :width] = cut_out
        y, x = np.mgrid[0:height, 0 : width + radius]
        row = height * rng.uniform(0.35, 0.75)
        lump = ((y - row) ** 2 + (x - width) ** 2 < radius**2) & (out[..., 3] < 128)
        out[lump] = (*(mean_colour(cut_out) * rng.uniform(0.8, 1.1)).clip(0, 255).astype(int), 255)
    area = (cut_out[..., 3] > 128).sum()
    return np.ascontiguousarray(out), float(max((out[..., 3] > 128).sum() - area, 0) / area)


def _taller(part: np.ndarray, more: int) -> np.ndarray:
    size = (part.shape[1], len(part) + more)
    return np.asarray(Image.fromarray(np.ascontiguousarray(part)).resize(size, Image.Resampling.BICUBIC))


def spoiled(cut_out: np.ndarray, severity: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """A badly cut cut-out, without one side, and the share of its area that is left."""
    out, width = cut_out.copy(), cut_out.shape[1]
    cut = round(width * (0.25 + 0.35 * severity))
    out[:, slice(width - cut, None) if rng.random() < 0.5 else slice(0, cut), 3] = 0
    left = (out[..., 3] > 128).sum() / (cut_out[..., 3] > 128).sum()
    return out, float(left)


def contrast(picture: Image.Image, mask: np.ndarray) -> float:
    """Mean distance, in 0..255, of the colours in `mask` (side, side), 0..1, from those around it in an RGB picture."""
    pixels = np.asarray(picture, np.float32)
    near = np.asarray(Image.fromarray(mask > 0.5).convert("L").filter(ImageFilter.BoxBlur(len(mask) // 12))) > 0
    inside, around = pixels[mask > 0.7], pixels[near & (mask < 0.1)]
    if len(inside) == 0 or len(around) == 0:
        return 0.0
    nearest = np.linalg.norm(
        inside[:: len(inside) // 150 + 1, None] - around[None, :: len(around) // 150 + 1], axis=-1
    ).min(1)
    return float(nearest.mean())


class Stage:
    """A place on which items are put one after the other, distant ones first. `depth`: (side, side) float32, nearness in 0..1."""

    def __init__(self, place: Place, rng: np.random.Generator, side: int) -> None:
        self.place, self._rng, self._side = place, rng, side
        self._fine = Image.fromarray(place.draw(rng, side * FINE).round().astype(np.uint8))
        rows = (np.arange(side, dtype=np.float32) + 0.5) / side
        self.depth = np.ascontiguousarray(np.broadcast_to(place.disparity(rows)[:, None], (side, side)))
        self._props = np.zeros((side, side), np.float32)

    def put(self, item: Item, fade: float = 0.0) -> np.ndarray:
        """Draw the item; `fade` in 0..1 blends it with its background. Returns its coverage of each pixel, (side, side) float32."""
        layer = self._layer(item)
        self._shadow(item)
        alpha = layer.getchannel("A")
        self._fine.paste(layer, (0, 0), alpha.point(lambda v: int(v * (1 - fade))))
        mask = np.asarray(alpha.resize((self._side, self._side), Image.Resampling.BOX), np.float32) / 255
        self.depth = np.where(mask > 0.5, np.float32(self.place.disparity(item.foot)), self.depth)
        self._props = np.maximum(self._props * (1 - mask), mask * 0.35)
        return mask

    def alone(self, item: Item) -> Image.Image:
        """RGBA (side, side): the item at the place where `put` draws it, without a ground."""
        return self._layer(item).resize((self._side, self._side), Image.Resampling.LANCZOS)

    def clutter(self, item: Item, sprites: Sequence[np.ndarray], severity: float) -> None:
        """Put objects of the item's size and larger around the place of the item."""
        for n in range(4 + round(8 * severity)):
            x, foot = item.x + self._rng.normal(0, 0.16), item.foot - abs(self._rng.normal(0, 0.08))
            height = item.height * float(self._rng.uniform(0.5, 1.1))
            self.put(Item(sprites[n % len(sprites)], float(foot), float(x), height))

    def saliency(self, mask: np.ndarray, strength: float) -> np.ndarray:
        """(side, side) float32 in 0..1: `strength` on the product, little on props."""
        values: np.ndarray = np.maximum(self._props * (mask < 0.5), mask * np.float32(max(strength, 0.05)))
        return values.astype(np.float32)

    def picture(self) -> Image.Image:
        """The current picture: RGB (side, side)."""
        return self._fine.resize((self._side, self._side), Image.Resampling.LANCZOS)

    def _layer(self, item: Item) -> Image.Image:
        edge = self._side * FINE
        size = self._size(item)
        image = Image.fromarray(np.ascontiguousarray(item.sprite)).resize(size, Image.Resampling.LANCZOS)
        if item.gap < 0:  # the ground hides what is below it
            image = image.crop((0, 0, size[0], round(size[1] * (1 + item.gap))))
        layer = Image.new("RGBA", (edge, edge))
        lift = round(max(item.gap, 0) * size[1])
        layer.paste(image, (round(item.x * edge) - size[0] // 2, round(item.foot * edge) - lift - image.height))
        return layer

    def _size(self, item: Item) -> tuple[int, int]:
        edge = self._side * FINE
        return max(2, round(item.width * edge)), max(2, round(item.height * edge))

    def _shadow(self, item: Item) -> None:
        """Draw its shadow on the ground, paler and wider the higher it hangs."""
        width, height = self._size(item)
        foot, lift = round(item.foot * self._side * FINE), round(max(item.gap, 0) * height) / height
        flat, half = max(2, round(width * 0.13)), max(1, round(width * 0.46 * (1 + 0.4 * lift)))
        middle, margin = round(item.x * self._side * FINE), 2 * flat
        y, x = np.mgrid[-flat - margin : flat + margin, -half - margin : half + margin]
        inside = (x / half) ** 2 + ((y + flat * 0.35) / flat) ** 2 < 1
        strength = (inside * (110 * max(0.35, 1 - lift))).astype(np.uint8)
        shade = Image.fromarray(strength).filter(ImageFilter.GaussianBlur(max(1.0, flat * 0.4)))
        box = (middle - half - margin, foot - flat - margin)
        self._fine.paste((18, 16, 28), (*box, box[0] + shade.width, box[1] + shade.height), shade)
