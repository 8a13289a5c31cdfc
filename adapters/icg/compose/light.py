"""What joins a cut-out to its ground: a contact shadow on the ground, and a fringe that takes on the ground's tone. PIL and numpy only.

Opaque pixels of the artwork are never changed.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SHADOW = (20, 20, 40)
AMBIENT, CONTACT = 0.22, 0.34
"""Darkness of the shadow all around, and of the one below the foot."""
FOOT = 0.12
"""Share of the subject's height, from below, whose width is that of its foot."""
FRINGE = 0.25
"""How far the tone of mixed pixels moves to that of the ground behind them."""


def shadowed(ground: Image.Image, alone: Image.Image) -> Image.Image:
    """RGB `ground` with the shadow of the subject `alone`, RGBA of the same size."""
    alpha = alone.getchannel("A")
    box = alpha.getbbox()
    if box is None:
        return ground
    edge = max(box[2] - box[0], box[3] - box[1])
    around = Image.new("L", ground.size)
    around.paste(alpha, (0, round(edge * 0.03)))
    around = around.filter(ImageFilter.GaussianBlur(edge * 0.035)).point([round(v * AMBIENT) for v in range(256)])
    foot = alpha.crop((box[0], box[3] - max(1, round((box[3] - box[1]) * FOOT)), box[2], box[3])).getbbox()
    below = Image.new("L", ground.size)
    if foot is not None:
        left, right, height = box[0] + foot[0], box[0] + foot[2], max(2.0, (foot[2] - foot[0]) * 0.05)
        ImageDraw.Draw(below).ellipse((left, box[3] - 1.2 * height, right, box[3] + 0.8 * height), fill=255)
        below = below.filter(ImageFilter.GaussianBlur(height * 0.6)).point([round(v * CONTACT) for v in range(256)])
    out = ground.convert("RGB")
    for shadow in (around, below):
        out = Image.composite(Image.new("RGB", out.size, SHADOW), out, shadow)
    return out


def harmonised(alone: Image.Image, ground: Image.Image) -> Image.Image:
    """RGBA `alone` whose half-transparent pixels move towards the low-frequency tone of RGB `ground` behind them."""
    pixels = np.asarray(alone)
    alpha = pixels[..., 3]
    mixed = (alpha > 0) & (alpha < 255)
    if not mixed.any():
        return alone
    tone = np.asarray(ground.filter(ImageFilter.GaussianBlur(max(ground.size) / 64)), np.float32)
    out = pixels.copy()
    share = FRINGE * (1 - alpha[mixed, None].astype(np.float32) / 255)
    out[mixed, :3] = (pixels[mixed, :3] * (1 - share) + tone[mixed] * share).round()
    return Image.fromarray(out)
