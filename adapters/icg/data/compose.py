"""The cover composer: a sprite on a palette, a backdrop and a framing, as a (128, 128) picture.

Deterministic for its arguments and seed. Knows nothing about subjects' names, users or models.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from icg.data.grounds import BACKDROPS, PALETTES, ground
from icg.data.grounds.colours import rgb

SIDE = 128

PLACES: dict[str, tuple[float, float, float]] = {
    # framing: (edge of the subject, its centre's x and y), in shares of the side
    "close": (0.9, 0.5, 0.5),
    "medium": (0.7, 0.5, 0.52),
    "corner": (0.6, 0.67, 0.67),
}
FRAMINGS: tuple[str, ...] = tuple(PLACES)


@dataclass(frozen=True)
class Look:
    """What a user can like about a cover besides its subject."""

    style: str
    palette: str
    backdrop: str
    framing: str


def compose(sprite: np.ndarray, look: Look, seed: int = 0, side: int = SIDE) -> Image.Image:
    """Draw `sprite` (S, S, 4) uint8 in `look`, (side, side) RGB. The seed varies pattern and position a little, and may mirror the subject.

    Raises IcgError for a palette, backdrop, seed or side that `ground` refuses.
    """
    canvas = ground(look.palette, look.backdrop, seed, side)
    rng = np.random.default_rng(seed)
    big = side * 2
    scale, cx, cy = _place(look.framing, rng)
    edge = round(big * scale)
    picture = Image.fromarray(_tint(sprite, look)).resize((edge, edge), Image.Resampling.BICUBIC)
    if rng.random() < 0.25:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    at = (round(cx * big - edge / 2), round(cy * big - edge / 2))
    layer = Image.new("RGBA", (big, big))  # twice as large, so that positions are finer than a pixel
    layer.paste(picture, at)
    layer = layer.resize((side, side), Image.Resampling.LANCZOS)
    _shadow(canvas, layer, dark=look.palette == "night")
    canvas.paste(layer, (0, 0), layer)
    return canvas


def subject_box(framing: str, side: int) -> np.ndarray:
    """(side, side) float32: 1 at the subject's place, 0 elsewhere."""
    scale, cx, cy = PLACES[framing]
    middle = (np.arange(side) + 0.5) / side
    inside = (np.abs(middle[:, None] - cy) < scale / 2) & (np.abs(middle[None] - cx) < scale / 2)
    return inside.astype(np.float32)


def all_looks() -> list[Look]:
    """Every combination, in a fixed order."""
    from icg.data.art import STYLES

    return [Look(s, p, b, f) for s in STYLES for p in PALETTES for b in BACKDROPS for f in FRAMINGS]


def stable_seed(*parts: object) -> int:
    """A seed that depends on the text of `parts` only, equal in every process."""
    return zlib.crc32("|".join(map(str, parts)).encode())


def _place(framing: str, rng: np.random.Generator) -> tuple[float, float, float]:
    dx, dy = rng.uniform(-0.015, 0.015, 2)
    scale, cx, cy = PLACES[framing]
    return scale + rng.uniform(-0.02, 0.02), cx + dx, cy + dy


def _tint(sprite: np.ndarray, look: Look) -> np.ndarray:
    if look.style != "ink":
        return sprite
    out = sprite.copy()
    out[..., :3] = rgb(PALETTES[look.palette][3])
    return out


def _shadow(canvas: Image.Image, layer: Image.Image, dark: bool) -> None:
    side = canvas.width
    mask = Image.new("L", canvas.size)
    mask.paste(layer.getchannel("A"), (0, round(side * 0.025)))
    mask = mask.filter(ImageFilter.GaussianBlur(side * 0.02)).point(lambda v: int(v * (0.5 if dark else 0.3)))
    canvas.paste((20, 20, 40), (0, 0), mask)
