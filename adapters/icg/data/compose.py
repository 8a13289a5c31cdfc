"""The cover composer: a sprite on a palette, a backdrop and a framing, as a (128, 128) picture.

Deterministic for its arguments and seed. Knows nothing about subjects' names, users or models.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

SIDE = 128

PALETTES: dict[str, tuple[str, str, str, str]] = {
    # name: (background a, background b, accent, ink)
    "sunset": ("#ff9a76", "#ffd6a5", "#ff6f61", "#5b1a3a"),
    "ocean": ("#3fa7d6", "#a7e0f2", "#1f6fb2", "#0b2545"),
    "forest": ("#7fb77e", "#dcedc1", "#4a8c5a", "#17361f"),
    "candy": ("#ff9ecb", "#ffe3f1", "#c77dff", "#5a189a"),
    "night": ("#2b2d5b", "#4b3f8f", "#1b1b3a", "#f6e7c1"),
    "desert": ("#e9c48f", "#f8ecd4", "#cf8a4b", "#5c3317"),
    "mono": ("#d4d7dd", "#f4f5f7", "#a3a9b5", "#1d1f24"),
    "lemon": ("#ffe066", "#fff6c9", "#ffb703", "#3d2c00"),
}
BACKDROPS: tuple[str, ...] = ("gradient", "sunburst", "dots", "waves", "hills")
PLACES: dict[str, tuple[float, float, float]] = {
    # framing: (edge of the subject, its centre's x and y), in shares of the side
    "close": (0.92, 0.5, 0.5),
    "medium": (0.66, 0.5, 0.52),
    "corner": (0.46, 0.69, 0.68),
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
    """Draw `sprite` (S, S, 4) uint8 in `look`. The seed varies pattern and position a little, and may mirror the subject."""
    rng = np.random.default_rng(seed)
    big = side * 2
    canvas = Image.fromarray(_background(look, rng, big))
    scale, cx, cy = _place(look.framing, rng)
    edge = round(big * scale)
    picture = Image.fromarray(_tint(sprite, look)).resize((edge, edge), Image.Resampling.BICUBIC)
    if rng.random() < 0.25:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    at = (round(cx * big - edge / 2), round(cy * big - edge / 2))
    _shadow(canvas, picture, at, big, dark=look.palette == "night")
    canvas.paste(picture, at, picture)
    return canvas.resize((side, side), Image.Resampling.LANCZOS)


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


def _rgb(code: str) -> np.ndarray:
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)], np.float32)


def _background(look: Look, rng: np.random.Generator, side: int) -> np.ndarray:
    a, b, accent, _ = (_rgb(c) for c in PALETTES[look.palette])
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    jitter = rng.uniform(-1, 1, 4)
    base = _mix(a, b, y)
    if look.backdrop == "gradient":
        return _bytes(_mix(a, b, np.clip(y * 1.1 + 0.25 * jitter[0] * (x - 0.5), 0, 1)))
    if look.backdrop == "sunburst":
        angle = np.arctan2(y - 0.55, x - 0.5) + jitter[0] * 0.3
        return _bytes(_mix(a, b, _soft(np.sin(angle * 9), 0.08)))
    if look.backdrop == "dots":
        u, v = (x * 6 + jitter[0]) % 1 - 0.5, (y * 6 + jitter[1]) % 1 - 0.5
        ring = _soft(0.27 - np.sqrt(u * u + v * v), 0.04)
        return _bytes(_mix(_mix(b, a, y * 0.35), a * 0.55 + accent * 0.45, ring))
    if look.backdrop == "waves":
        phase = np.sin(x * 7 + jitter[0] * 3) * 0.035
        return _bytes(_mix(a, b, _soft(np.sin((y + phase) * 26 + jitter[1] * 3), 0.15)))
    far = 0.62 + 0.07 * np.sin(x * 5 + jitter[0] * 3)
    near = 0.78 + 0.05 * np.sin(x * 7 + jitter[1] * 3)
    sky = _mix(b, a, np.clip(0.5 - y * 0.7, 0, 1))
    hills = _mix(sky, base * 0.25 + a * 0.75, _soft(y - far, 0.006))
    return _bytes(_mix(hills, accent, _soft(y - near, 0.006)))


def _place(framing: str, rng: np.random.Generator) -> tuple[float, float, float]:
    dx, dy = rng.uniform(-0.015, 0.015, 2)
    scale, cx, cy = PLACES[framing]
    return scale + rng.uniform(-0.02, 0.02), cx + dx, cy + dy


def _tint(sprite: np.ndarray, look: Look) -> np.ndarray:
    if look.style != "ink":
        return sprite
    out = sprite.copy()
    out[..., :3] = _rgb(PALETTES[look.palette][3])
    return out


def _shadow(canvas: Image.Image, picture: Image.Image, at: tuple[int, int], side: int, dark: bool) -> None:
    mask = Image.new("L", (side, side))
    mask.paste(picture.getchannel("A"), (at[0], at[1] + round(side * 0.025)))
    mask = mask.filter(ImageFilter.GaussianBlur(side * 0.02)).point(lambda v: int(v * (0.5 if dark else 0.3)))
    canvas.paste((20, 20, 40), (0, 0), mask)


def _mix(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    return a + (b - a) * t[..., None]


def _soft(value: np.ndarray, width: float) -> np.ndarray:
    return np.clip(value / width * 0.5 + 0.5, 0, 1)


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture, 0, 255).astype(np.uint8)
