"""Fourteen kinds of damage to a cover, of any severity. Deterministic for its generator; knows no model.

Covers are damaged at twice the side, so that a crop keeps its sharpness and only the composition is damaged.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageFilter

from icg.data.compose import PLACES, SIDE, Look

Damage = Callable[[Image.Image, Look, float, np.random.Generator, Sequence[np.ndarray]], Image.Image]
"""(cover at 2 SIDE, its look, severity 0..1, generator, other subjects' sprites) -> cover at SIDE."""


def finished(big: Image.Image) -> Image.Image:
    """The undamaged cover: (2 SIDE, 2 SIDE) -> (SIDE, SIDE)."""
    return big.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _floats(big: Image.Image) -> np.ndarray:
    return np.asarray(finished(big), np.float32) / 255


def _image(values: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(values, 0, 1) * 255).round().astype(np.uint8))


def _between(low: float, high: float, severity: float) -> float:
    return low + (high - low) * severity


def blur(big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    return finished(big).filter(ImageFilter.GaussianBlur(_between(0.6, 2.6, s)))


def noise(big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    clean = _floats(big)
    return _image(clean + rng.standard_normal(clean.shape) * _between(0.015, 0.2, s))


def dark(big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    return _image(_floats(big) ** _between(1.1, 1.6, s) * _between(0.75, 0.25, s))


def bright(big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    return _image(_floats(big) * _between(1.25, 2.4, s) + _between(0.03, 0.15, s))


def fade(big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    clean, grey = _floats(big), rng.uniform(0.4, 0.7)
    return _image(clean + (grey - clean) * _between(0.35, 0.85, s))


def blocks(big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    buffer = io.BytesIO()
    finished(big).save(buffer, "JPEG", quality=round(_between(30, 3, s)))
    return Image.open(buffer).convert("RGB")


def pixelate(
    big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]
) -> Image.Image:
    edge = round(_between(56, 14, s))
    small = finished(big).resize((edge, edge), Image.Resampling.BOX)
    return small.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def clash(big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    """Shift the hues of half the circle and increase the saturation of all colours."""
    hsv = np.asarray(finished(big).convert("HSV"), np.float32)
    near = np.abs((hsv[..., 0] - rng.integers(0, 256) + 128) % 256 - 128) < 64
    hue = (hsv[..., 0] + np.where(near, _between(45, 128, s), 0)) % 256
    loud = np.clip(hsv[..., 1] * _between(1.4, 3.0, s) + _between(10, 60, s), 0, 255)
    return Image.fromarray(np.stack([hue, loud, hsv[..., 2]], -1).astype(np.uint8), "HSV").convert("RGB")


def cast(big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    lamp = np.array(((1.25, 1.0, 0.35), (0.45, 1.2, 0.5), (0.5, 0.8, 1.35), (1.3, 0.45, 1.2))[rng.integers(4)])
    return _image(_floats(big) * (1 + (lamp - 1) * _between(0.35, 1.0, s)).astype(np.float32))


def crop(big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    """A window whose edge cuts the subject: it loses a fifth at severity 0, half at 1."""
    scale, *centre = PLACES[look.framing]
    axis, after = int(rng.integers(2)), bool(rng.integers(2))
    cut = _between(0.3, 0.0, s) * scale
    start = centre[axis] - cut if after else 0.0
    end = 1.0 if after else centre[axis] + cut
    share = min(0.62, max(0.5, end - start))
    low = start if after else end - share
    corner = [0.0, 0.0]
    corner[axis] = min(max(low, 0.0), 1 - share)
    corner[1 - axis] = rng.uniform(0, 1 - share)
    x, y, edge = (round(v * big.width) for v in (*corner, share))
    return big.crop((x, y, x + edge, y + edge)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def clutter(big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    out = finished(big)
    for _ in range(round(_between(3, 14, s))):
        edge = int(rng.integers(14, 36))
        thing = Image.fromarray(art[rng.integers(len(art))]).resize((edge, edge), Image.Resampling.BICUBIC)
        out.paste(thing, tuple(int(v) for v in rng.integers(-edge // 3, SIDE - edge // 2, 2)), thing)
    return out


def bars(big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    """Letterbox: bands of one colour on two sides of the picture."""
    out = np.asarray(finished(big)).copy()
    wide, colour = round(SIDE * _between(0.06, 0.25, s)), int(rng.choice([0, 128, 255]))
    turned = out if rng.integers(2) else out.swapaxes(0, 1)
    turned[:wide], turned[-wide:] = colour, colour
    return Image.fromarray(out)


def shrunk(big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    """Enlarged from too few pixels."""
    edge = round(_between(80, 20, s))
    return finished(big).resize((edge, edge), Image.Resampling.LANCZOS).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def pasted(big: Image.Image, look: Look, s: float, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    """A thumbnail of the cover on a ground of one colour, often pale and dotted."""
    pale = np.array([rng.uniform(0.75, 1.0)] * 3) + rng.uniform(-0.12, 0.12, 3)
    ground = np.broadcast_to(pale if rng.random() < 0.8 else rng.uniform(0, 1, 3), (SIDE, SIDE, 3)).copy()
    if rng.random() < 0.7:
        pitch, radius = rng.integers(6, 24), rng.uniform(0.15, 0.35)
        y, x = np.indices((SIDE, SIDE)) % pitch - pitch / 2
        ground[np.hypot(x, y) < radius * pitch] += rng.uniform(-0.15, 0.15, 3)
    edge = round(SIDE * _between(0.85, 0.3, s))
    out, place = _image(ground), rng.integers(0, SIDE - edge + 1, 2) if rng.random() < 0.5 else [(SIDE - edge) // 2] * 2
    out.paste(big.resize((edge, edge), Image.Resampling.LANCZOS), (int(place[0]), int(place[1])))
    return out


_ALL = (blur, noise, dark, bright, fade, blocks, pixelate, clash, cast, crop, clutter, bars, shrunk, pasted)
DAMAGES: dict[str, Damage] = {f.__name__: f for f in _ALL}
COMPOSED = ("crop",)
"""Kinds that need to know where the subject is: a part of a photograph is a photograph."""
