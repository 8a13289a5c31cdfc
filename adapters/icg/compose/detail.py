"""Where a picture has detail that must not be lost, edges and the dense fine edges of lettering; and sharper edges. numpy and PIL only."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from icg.compose.layout import blurred

FAINT = 6.0
"""Steps of luminance a pixel below this are grain or compression."""

RADIUS = 1 / 128
"""Of the blur that `sharpened` moves away from, in shares of the longer edge."""


def luminance(picture: Image.Image) -> np.ndarray:
    """(h, w) float32 in 0..255."""
    return np.asarray(picture.convert("L"), np.float32)


def edges(values: np.ndarray) -> np.ndarray:
    """(h, w) -> the length of its gradient (h, w), of central differences."""
    padded = np.pad(values, 1, "edge")
    across, down = padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]
    length: np.ndarray = np.hypot(across, down) / 2
    return length


def detail(picture: Image.Image) -> np.ndarray:
    """(h, w) >= 0: strength of edges above FAINT, over a neighbourhood of 2 % of the longer edge; lettering is the strongest."""
    strength = edges(luminance(picture))
    radius = max(1, round(0.01 * max(picture.size)))
    return blurred(np.where(strength > FAINT, strength, 0), radius)


def sharpened(picture: Image.Image, amount: float) -> Image.Image:
    """RGB `picture` moved away from its own blur by `amount` >= 0 of the difference (unsharp mask); 0: as it is.

    A small denoiser draws the edges of a ground softer than those it learned from.
    """
    if not amount:
        return picture
    return picture.filter(ImageFilter.UnsharpMask(RADIUS * max(picture.size), round(100 * amount), 0))
