"""Where a picture is in a cover: its scale and corner, by cross-correlation of edges over a range of scales. numpy and PIL only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from icg.compose.detail import edges, luminance

LOOK, FINE = 96, 256
"""Longer edge in pixels of the cover in the first search, and in the second one, around what the first has found."""
SMALLEST, STEP = 0.25, 1.05
"""The smallest scale, relative to the largest that fits, and the ratio of scales that are tried."""
MARGIN = 0.08
"""How far a picture may reach over the cover's edge, as a crop lets it; a share of the cover."""
AGAIN = (0.96, 0.98, 1.0, 1.02, 1.04)
"""Scales of the second search, relative to the first one's answer."""
BLOCKS, ROOM, ROUNDS = 4, 0.04, 3
"""Blocks an edge whose shifts give the exact scale and place; how far they may shift, in shares of the picture; and how often."""


class Region(NamedTuple):
    """Where the template is: its left and top, width and height in pixels of the cover, and the correlation -1..1 of its edges there."""

    left: float
    top: float
    width: float
    height: float
    correlation: float


def locate(cover: Image.Image, template: Image.Image, weight: np.ndarray) -> Region:
    """The region of RGB `cover` in which RGB `template` agrees best, where `weight` (h, w) >= 0, of the template's size, is above 0."""
    largest = min(cover.width / template.width, cover.height / template.height) * (1 + MARGIN)
    most = max(cover.width / template.width, cover.height / template.height) * (1 + MARGIN)
    scales = [largest * SMALLEST]
    while scales[-1] * STEP < max(largest, min(most, largest * 1.6)):
        scales.append(scales[-1] * STEP)
    rough = _best(cover, template, weight, LOOK, scales)
    scale = rough.width / template.width
    return settled(cover, template, weight, _best(cover, template, weight, FINE, [scale * ratio for ratio in AGAIN]))


def settled(cover: Image.Image, template: Image.Image, weight: np.ndarray, region: Region) -> Region:
    """The exact region, from one that is a few pixels off."""
    for _ in range(ROUNDS):
        region = _moved(cover, template, weight, region)
    return region


def _best(cover: Image.Image, template: Image.Image, weight: np.ndarray, edge: int, scales: list[float]) -> Region:
    ratio = min(1.0, edge / max(cover.size))
    size = (max(1, round(cover.width * ratio)), max(1, round(cover.height * ratio)))
    pad = round(MARGIN * max(size))
    field = np.pad(edges(luminance(cover.resize(size, Image.Resampling.BOX))), pad)
    field = (field / max(float(field.std()), 1e-6)).astype(np.float32)
    transform, squares = np.fft.rfft2(field), np.fft.rfft2(field**2)
    best = Region(0, 0, *cover.size, -1.0)
    for scale in scales:
        width, height = (max(4, round(v * scale * ratio)) for v in template.size)
        if width > field.shape[1] or height > field.shape[0]:
            continue
        small = edges(luminance(template.resize((width, height), Image.Resampling.BOX)))
        mask = np.asarray(Image.fromarray(weight.astype(np.float32)).resize((width, height), Image.Resampling.BOX)) > 0
        count = max(int(mask.sum()), 1)
        pattern = np.where(mask, small - small[mask].mean() if mask.any() else 0, 0).astype(np.float32)
        length = float(np.sqrt((pattern**2).sum()))
        if length < 1e-6:
            continue
        shape = field.shape
        dots = _correlated(transform, pattern, shape)
        means = _correlated(transform, mask.astype(np.float32), shape) / count
        spread = np.sqrt(np.maximum(_correlated(squares, mask.astype(np.float32), shape) - count * means**2, 1e-6))
        valid = (dots / (length * np.maximum(spread, 0.02 * np.sqrt(count))))[
            : shape[0] - height + 1, : shape[1] - width + 1
        ]
        y, x = np.unravel_index(int(valid.argmax()), valid.shape)
        if valid[y, x] > best.correlation:
            best = Region(
                (x - pad) / ratio, (y - pad) / ratio, width / ratio, height / ratio, float(min(valid[y, x], 1.0))
            )
    return best


def _moved(cover: Image.Image, template: Image.Image, weight: np.ndarray, region: Region) -> Region:
    """The region moved and scaled so that blocks of the template, on average, do not shift against the cover."""
    scale = min(1.0, FINE / max(template.size))
    size = width, height = max(16, round(template.width * scale)), max(16, round(template.height * scale))
    room = max(2, round(ROOM * max(size)))
    pitch = region.width / width, region.height / height
    box = (
        region.left - room * pitch[0],
        region.top - room * pitch[1],
        region.left + region.width + room * pitch[0],
        region.top + region.height + room * pitch[1],
    )
    shown = edges(luminance(view(cover, box, (width + 2 * room, height + 2 * room))))
    ours = edges(luminance(template.resize(size, Image.Resampling.BOX)))
    mask = np.asarray(Image.fromarray(weight.astype(np.float32)).resize(size, Image.Resampling.BOX)) > 0
    rows = []
    for n in range(BLOCKS * BLOCKS):
        (top, bottom), (left, right) = (
            (edge * i // BLOCKS, edge * (i + 1) // BLOCKS)
            for edge, i in zip((height, width), divmod(n, BLOCKS), strict=True)
        )
        part = np.s_[top:bottom, left:right]
        pattern = np.where(mask[part], ours[part], 0)
        energy = float(pattern.sum())
        if energy > 0:
            shift = _shift(
                shown[top : bottom + 2 * room, left : right + 2 * room], (pattern - pattern.mean()).astype(np.float32)
            )
            rows.append(((left + right) / 2 - width / 2, (top + bottom) / 2 - height / 2, *shift, energy))
    if not rows:
        return region
    x, y, dx, dy, energy = np.array(rows).T
    dx, dy = dx - room, dy - room
    # Blocks that are damaged shift anywhere: the median of the others says which belong together.
    near = (np.abs(dx - np.median(dx)) < room / 2) & (np.abs(dy - np.median(dy)) < room / 2)
    share = energy * near / max(float((energy * near).sum()), 1e-9)
    mean = [float((share * v).sum()) for v in (x, y, dx, dy)]
    x, y = x - mean[0], y - mean[1]
    spread = float((share * (x * x + y * y)).sum())
    growth = float((share * (x * (dx - mean[2]) + y * (dy - mean[3]))).sum()) / spread if spread > 1 else 0.0
    growth = float(np.clip(growth, -0.05, 0.05))
    middle = mean[2] - growth * mean[0], mean[3] - growth * mean[1]
    return Region(
        region.left + (middle[0] - growth * width / 2) * pitch[0],
        region.top + (middle[1] - growth * height / 2) * pitch[1],
        region.width * (1 + growth),
        region.height * (1 + growth),
        region.correlation,
    )


def _shift(field: np.ndarray, pattern: np.ndarray) -> tuple[float, float]:
    """x and y, to a fraction of a pixel, at which `pattern` agrees best with a part of `field`."""
    shape = field.shape
    dots = np.fft.irfft2(np.fft.rfft2(field) * np.conj(np.fft.rfft2(pattern, shape)), shape)
    dots = dots[: shape[0] - pattern.shape[0] + 1, : shape[1] - pattern.shape[1] + 1]
    y, x = (int(v) for v in np.unravel_index(int(dots.argmax()), dots.shape))
    return x + _peak(dots[y], x), y + _peak(dots[:, x], y)


def _peak(values: np.ndarray, at: int) -> float:
    """Where the parabola through a maximum and its neighbours has its peak, relative to it."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, middle, after = (float(v) for v in values[at - 1 : at + 2])
    bend = before - 2 * middle + after
    return 0.0 if bend >= 0 else (before - after) / (2 * bend)


def view(cover: Image.Image, box: tuple[float, float, float, float], size: tuple[int, int]) -> Image.Image:
    """What RGB `cover` shows in a box (left, top, right, bottom), to a fraction of a pixel, scaled to `size`; black outside of it."""
    factor = max(1, int(min((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1])))
    if factor > 1:  # averaged first: a transform takes one pixel of many
        cover = cover.reduce(factor)
        box = tuple(v / factor for v in box)  # type: ignore[assignment]
    return cover.transform(size, Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)


def _correlated(transform: np.ndarray, pattern: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Cross-correlation of a field, given as its transform, with a pattern at its corner."""
    return np.fft.irfft2(transform * np.conj(np.fft.rfft2(pattern, shape)), shape)  # type: ignore[no-any-return]
