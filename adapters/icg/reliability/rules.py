"""A picture's geometry, measured without a network from the product's known pixels.

A second opinion on RFNet's reward: contrast, what was added to the product, and whether a shadow lies at its foot. The scale of the
surroundings cannot be measured this way. For the light of `icg.reliability.scenes.scenes`: shadows lie below.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from icg.compose.cut_out import grown
from icg.errors import IcgError
from icg.reliability.scenes.scenes import Geometry
from icg.reliability.scenes.staging import contrast

SIDE = 128
ALIKE = 26.0
"""Colours closer than this, in 0..255 a channel, belong together."""
DARK = 7.0
"""A shadow is at least this much darker than the ground beside it, in 0..255."""


def measure(picture: Image.Image, placed: Image.Image) -> Geometry:
    """picture: RGB, placed: RGBA of the same size with the product at its place. gap is 1 if no shadow is found below the product.

    Raises IcgError for an empty `placed`.
    """
    if picture.size != (SIDE, SIDE):
        picture, placed = (p.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for p in (picture, placed))
    alpha = np.asarray(placed.getchannel("A"), np.float32) / 255
    if not (alpha > 0.5).any():
        raise IcgError("placed is transparent everywhere; allowed: the product where it stands")
    pixels = np.asarray(picture.convert("RGB"), np.float32)
    return Geometry(_gap(pixels, alpha), 1.0, contrast(picture, alpha), _extra(pixels, alpha))


def _gap(pixels: np.ndarray, alpha: np.ndarray) -> float:
    """Distance from the product's foot to the darkest rows below it, over its height."""
    rows, columns = np.nonzero(alpha > 0.5)
    top, foot, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    height, width = foot - top, right - left
    light = np.where(alpha > 0.1, np.nan, pixels.mean(-1))
    middle = light[:, left + width // 5 : right - width // 5]
    beside = np.concatenate([light[:, max(left - width // 3, 0) : left], light[:, right : right + width // 3]], 1)
    first, last = max(foot - round(0.15 * height), 0), min(foot + round(0.9 * height) + 1, len(light))
    darker = np.array([_mean(beside[y]) - _mean(middle[y]) for y in range(first, last)])
    darker = np.nan_to_num(darker, nan=-np.inf)
    if not len(darker) or darker.max() < DARK:
        return 1.0
    dark = first + np.nonzero(darker > max(DARK, darker.max() / 2))[0]
    return float((dark.mean() - foot) / height) if abs(dark[0] - foot) > 0.08 * height else 0.0


def _extra(pixels: np.ndarray, alpha: np.ndarray) -> float:
    """Area of what touches the product, has one of its colours and none of the distant ground's, over the product's area."""
    inside, covered = alpha > 0.7, alpha > 0.05
    area = inside.sum()
    reach = max(2, round(0.3 * np.sqrt(area)))
    near = grown(covered, reach)
    far = pixels[grown(near, reach) & ~near]
    ground = far[:: len(far) // 200 + 1] if len(far) else pixels[~covered]
    inside_colours = pixels[inside] if area else ground
    inside_colours = inside_colours[:: len(inside_colours) // 200 + 1]
    odd = near & ~covered
    if not odd.any() or not len(ground):
        return 0.0
    colours = pixels[odd]
    like, unlike = (np.linalg.norm(colours[:, None] - few[None], axis=-1).min(1) for few in (inside_colours, ground))
    odd[odd] = (like < ALIKE) & (unlike > ALIKE)
    whole = covered
    for _ in range(2 * reach):
        more = covered | (grown(whole, 1) & odd)
        if (more == whole).all():
            break
        whole = more
    return float((whole & ~covered).sum() / max(area, 1))


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
