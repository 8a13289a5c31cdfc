"""A drawing in one dark colour is drawn in a light one on a ground that would swallow it: its shape is the artwork, its colour is not.

A photograph of a black thing is never touched: its opaque pixels differ. numpy and PIL only.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from icg.compose.light import DARK, MOST, lightness, swallowed

LIGHT = (250, 246, 236)
"""The colour of paper."""
OPAQUE = 250
"""Alpha from which on a pixel has the drawing's own colour."""
EQUAL, SHARE = 12, 0.98
"""A drawing has one colour if this share of its opaque pixels is within EQUAL levels of their median in each channel."""


def is_ink(drawing: Image.Image) -> bool:
    """Whether the opaque pixels of RGBA `drawing` have one dark colour."""
    pixels = np.asarray(drawing)
    opaque = pixels[pixels[..., 3] >= OPAQUE, :3]
    if not len(opaque):
        return False
    colour = np.median(opaque, axis=0)
    equal = np.abs(opaque - colour).max(-1) <= EQUAL
    return bool(lightness(colour[None])[0] < DARK and equal.mean() >= SHARE)


def in_light(drawing: Image.Image) -> Image.Image:
    """RGBA `drawing` with its own alpha, in LIGHT."""
    out = Image.new("RGBA", drawing.size, LIGHT)
    out.putalpha(drawing.getchannel("A"))
    return out


def legible(alone: Image.Image, ground: Image.Image) -> Image.Image:
    """RGBA `alone` as it is to stand on RGB `ground` of its size: in LIGHT if it is ink that the ground would swallow, else as it is."""
    return in_light(alone) if is_ink(alone) and swallowed(ground, alone) > MOST else alone


def as_shown(alone: Image.Image, cover: Image.Image) -> Image.Image:
    """RGBA `alone` in the colour in which RGB `cover`, of its size, shows it already: in LIGHT, or as it is."""
    if not is_ink(alone):
        return alone
    shown = np.asarray(cover.convert("RGB"))[np.asarray(alone)[..., 3] >= OPAQUE]
    return in_light(alone) if lightness(np.median(shown, axis=0)[None])[0] > 50 else alone
