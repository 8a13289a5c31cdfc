"""Where a cut-out stands in a cover: at the place of the draft's own subject, which keeps the user's framing. numpy and PIL only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

MAX_EDGE = 1024
"""Pixels of a cover's longer edge at most, if the brief does not say."""
EDGES = (0.6, 0.92)
"""The smallest and the largest edge of a subject, in shares of the cover's shorter edge: below, it is a thumbnail."""
SNAP = 1.25
"""A subject that would be scaled by less than this is not scaled: its pixels stay as they are."""
SMALL = 48
"""Pixels a side at which the draft is looked at."""
RIM_VOTES, STRANGE = 22, 40.0
"""A pixel belongs to the ground when at least this many rim pixels are within this distance of its colour."""


class Place(NamedTuple):
    """edge: the subject's longer edge in shares of the cover's shorter one. x, y: its centre in shares of width and height."""

    edge: float
    x: float
    y: float


PLACE = Place(0.7, 0.5, 0.52)
"""Where the draft does not say."""


def strange(background: Image.Image) -> np.ndarray:
    """(48, 48) bool: pixels unlike any near the rim, which is what the denoiser drew before its background."""
    small = _small(background)
    rim = np.ones((SMALL, SMALL), bool)
    rim[1:-1, 1:-1] = False
    colours = small[rim]
    distance = np.sqrt(((small[:, :, None] - colours[None, None]) ** 2).sum(-1))
    return np.sort(distance, axis=-1)[..., RIM_VOTES] > STRANGE


def place(mask: np.ndarray) -> Place:
    """The place of the draft's subject, from the mask of `strange`, within EDGES and the cover. PLACE if the mask covers less than 2 %."""
    if mask.mean() < 0.02:
        return PLACE
    ys, xs = np.nonzero(mask)
    (top, bottom), (left, right) = (np.percentile(v, (3, 97)) / len(mask) for v in (ys, xs))
    edge = float(np.clip(max(bottom - top, right - left) + 1 / len(mask), *EDGES))
    x, y = (float(np.clip(v, edge / 2, 1 - edge / 2)) for v in ((left + right) / 2, (top + bottom) / 2))
    return Place(edge, x, y)


def settled(place: Place, subject: tuple[int, int], size: tuple[int, int]) -> Place:
    """`place` with the edge at which a subject of this size keeps its pixels in a cover of `size`, if that is near and fits."""
    natural = max(subject) / min(size)
    near = 1 / SNAP <= natural / place.edge <= SNAP and EDGES[0] <= natural <= EDGES[1]
    return place._replace(edge=natural) if near else place


def stood(subject: Image.Image, place: Place, size: tuple[int, int]) -> Image.Image:
    """RGBA of `size`: the cut-out `subject` at its place, whole, on nothing. Its pixels are the original's where it is not scaled."""
    scale = place.edge * min(size) / max(subject.size)
    scaled = tuple(min(max(1, round(edge * scale)), most) for edge, most in zip(subject.size, size, strict=True))
    if scaled != subject.size:
        subject = subject.resize(scaled, Image.Resampling.LANCZOS)
    at = [
        min(max(round(most * share - edge / 2), 0), most - edge)
        for most, share, edge in zip(size, (place.x, place.y), subject.size, strict=True)
    ]
    alone = Image.new("RGBA", size)
    alone.paste(subject, (at[0], at[1]))
    return alone


def clear(background: Image.Image, subject: np.ndarray) -> Image.Image:
    """`background` with its `subject` (h, w), bool, filled from the surroundings."""
    small = _small(background)
    mask = Image.fromarray(subject.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(5))
    keep = 1 - np.asarray(mask, np.float32) / 255
    if keep.mean() < 0.03:
        return background
    filled, empty = np.zeros_like(small), np.ones(subject.shape, bool)
    for radius, least in ((2, 0.05), (5, 0.05), (12, 0.05), (24, 0.05), (47, 0.0)):
        near = np.stack([blurred(small[..., c] * keep, radius) for c in range(3)], -1)
        weight = blurred(keep, radius)
        fresh = empty & (weight > least)
        filled[fresh] = near[fresh] / weight[fresh][:, None]
        empty &= ~fresh
    plate = Image.fromarray(filled.clip(0, 255).astype(np.uint8)).resize(background.size, Image.Resampling.BICUBIC)
    soft = mask.resize(background.size, Image.Resampling.BICUBIC)
    return Image.composite(plate, background.convert("RGB"), soft)


def blurred(values: np.ndarray, radius: int) -> np.ndarray:
    """Mean over a (2 radius + 1) square of (h, w), zeros outside."""
    total = np.pad(values, ((radius + 1, radius), (radius + 1, radius))).cumsum(0).cumsum(1)
    step = 2 * radius + 1
    return (total[step:, step:] - total[:-step, step:] - total[step:, :-step] + total[:-step, :-step]) / step**2


def _small(background: Image.Image) -> np.ndarray:
    return np.asarray(background.convert("RGB").resize((SMALL, SMALL), Image.Resampling.BILINEAR), np.float32)
