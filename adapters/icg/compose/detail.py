"""Where a picture has detail that must not be lost: edges, and the dense fine edges of lettering. numpy and PIL only."""

from __future__ import annotations

import numpy as np
from PIL import Image

from icg.compose.layout import blurred

FAINT = 6.0
"""Steps of luminance a pixel below this are grain or compression."""


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
