"""Colours by name: a picture's palette as a few named colours with their shares. Knows no design."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

_CODES = """black 101014 charcoal 3c3f46 grey 8b8f98 silver c6c9cf white fafafa cream fbf1d6 beige dfc7a0 brown 7a4a28
maroon 6b1f2e red d7342f coral ff7f66 orange f58a1f gold e0ab2b yellow ffe04d olive 7f8033 lime a8d84a green 3d9b4f
mint bfe8cf teal 1f8f8f sky 8fd0f0 blue 2f6fd0 navy 1d2a57 lavender cdb9f0 purple 7a3fb0 pink ff9fcb"""
NAMED = {name: f"#{code}" for name, code in zip(_CODES.split()[::2], _CODES.split()[1::2], strict=True)}
"""Name -> sRGB; a colour gets the name of the nearest in CIE L*a*b*."""
SIDE = 48
COLOURS = 5
LEAST = 0.05
"""Colours with a smaller share of the picture are left out."""
ROUNDS = 12


class Colour(NamedTuple):
    """`hex`: as measured. `share`: of the picture, in 0..1."""

    name: str
    hex: str
    share: float


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB (..., 3) in 0..255 -> CIE L*a*b* (..., 3), white point D65."""
    v = np.asarray(rgb, np.float64) / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = linear @ matrix.T / (0.95047, 1.0, 1.08883)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def rgb(code: str) -> tuple[int, int, int]:
    """ "#rrggbb" -> its three bytes."""
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


_NAMES = tuple(NAMED)
_LAB = to_lab(np.array([rgb(code) for code in NAMED.values()]))


def name(colour: np.ndarray) -> str:
    """The name of an sRGB colour (3,) in 0..255."""
    return _NAMES[int(((_LAB - to_lab(colour)) ** 2).sum(1).argmin())]


def palette(picture: Image.Image, count: int = COLOURS) -> list[Colour]:
    """At most `count` colours, the commonest first: k-means in L*a*b* from distant starts; clusters of one name are one colour."""
    small = np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)).reshape(-1, 3)
    lab = to_lab(small)
    centres = _spread(lab, count + 3)
    for _ in range(ROUNDS):
        nearest = ((lab[:, None] - centres) ** 2).sum(2).argmin(1)
        centres = np.stack([lab[nearest == n].mean(0) if (nearest == n).any() else c for n, c in enumerate(centres)])
    shares: dict[str, float] = {}
    parts: dict[str, list[np.ndarray]] = {}
    for n in np.unique(nearest):
        cluster = small[nearest == n]
        label = name(cluster.mean(0))
        shares[label] = shares.get(label, 0.0) + len(cluster) / len(small)
        parts.setdefault(label, []).append(cluster)
    means = {label: np.concatenate(rows).mean(0).round().astype(int) for label, rows in parts.items()}
    colours = [
        Colour(c, "#{:02x}{:02x}{:02x}".format(*means[c]), share) for c, share in shares.items() if share >= LEAST
    ]
    return sorted(colours, key=lambda c: -c.share)[:count]


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """Starts of k-means: the point nearest to the mean, then repeatedly the point farthest from the chosen ones. Deterministic."""
    chosen = [points[((points - points.mean(0)) ** 2).sum(1).argmin()]]
    far = ((points - chosen[0]) ** 2).sum(1)
    while len(chosen) < count:
        chosen.append(points[far.argmax()])
        far = np.minimum(far, ((points - chosen[-1]) ** 2).sum(1))
    return np.stack(chosen)
