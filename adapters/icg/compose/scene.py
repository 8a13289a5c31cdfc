"""Where a product stands in a scene that is painted around it: upright, in the lower half. numpy and PIL only."""

from __future__ import annotations

import numpy as np
from PIL import Image

from icg.errors import BriefError

HEIGHTS, MIDDLES, FEET = (0.3, 0.46), (0.35, 0.65), (0.72, 0.92)
"""Ranges of a product's height, middle (from the left) and foot (from the top), in shares of the cover."""
WIDEST = 0.7


def stand(product: Image.Image, seed: int, size: tuple[int, int]) -> Image.Image:
    """RGBA of the cover's `size` (width, height) with the whole cut-out, upright, in the lower half; the seed sets size and position.

    A cut-out larger than the canvas is scaled down; several objects in one cut-out are one product. BriefError for an empty one.
    """
    box = product.getchannel("A").getbbox()
    if box is None:
        raise BriefError("product is fully transparent; allowed: a cut-out with something on it")
    alone = product.crop(box)
    rng = np.random.default_rng(seed)
    height, middle, foot = (float(rng.uniform(*span)) for span in (HEIGHTS, MIDDLES, FEET))
    edge = min(height * size[1], WIDEST * size[0] * alone.height / alone.width)
    scaled = (max(1, round(edge * alone.width / alone.height)), max(1, round(edge)))
    left = min(max(round(middle * size[0] - scaled[0] / 2), 0), size[0] - scaled[0])
    out = Image.new("RGBA", size)
    out.paste(alone.resize(scaled, Image.Resampling.LANCZOS), (left, round(foot * size[1]) - scaled[1]))
    return out
