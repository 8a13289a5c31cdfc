"""What joins a cut-out to its ground, and sets it off: a contact shadow on the ground, a light behind a subject that a ground of its own
tone would swallow, and a fringe that takes on the ground's tone. PIL and numpy only.

Opaque pixels of the artwork are not changed here (`icg.compose.ink` changes those of a drawing in one colour).
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from icg.compose.cut_out import grown

SHADOW = (20, 20, 40)
AMBIENT, CONTACT = 0.22, 0.34
"""Darkness of the shadow all around, and of the one below the foot."""
FOOT = 0.12
"""Share of the subject's height, from below, whose width is that of its foot."""
FRINGE = 0.25
"""How far the tone of mixed pixels moves to that of the ground behind them."""
SMALL = 96
"""Pixels of the longer edge at which subject and ground are compared."""
DARK, SWALLOWED, MOST = 35.0, 40.0, 0.3
"""An outline of less lightness than DARK is dark; it is swallowed by a ground that is lighter by less than SWALLOWED (both L* of CIELAB, 0
to 100); the share of an outline that may be."""
BACKLIGHT = 0.75
"""How far the ground moves to white behind a subject whose outline is swallowed in twice MOST of its length."""


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


def backlit(ground: Image.Image, alone: Image.Image) -> Image.Image:
    """RGB `ground` with a light behind the subject `alone`, RGBA of the same size, if it is dark and the ground too. A light subject on a
    light ground is set off by its shadow."""
    share = swallowed(ground, alone)
    if share <= MOST:
        return ground
    left, top, right, bottom = alone.getbbox() or (0, 0, 1, 1)
    glow = alone.getchannel("A").filter(ImageFilter.GaussianBlur(max(right - left, bottom - top) * 0.12))
    strength = BACKLIGHT * min(1.0, (share - MOST) / MOST)
    glow = glow.point([round(strength * min(255.0, 1.6 * v)) for v in range(256)])
    return Image.composite(Image.new("RGB", ground.size, "white"), ground.convert("RGB"), glow)


def swallowed(ground: Image.Image, alone: Image.Image) -> float:
    """The share, 0..1, of the outline of RGBA `alone` that is dark on RGB `ground`, of its size, that is hardly lighter."""
    factor = SMALL / max(ground.size)
    size = (max(1, round(ground.width * factor)), max(1, round(ground.height * factor)))
    small = np.asarray(alone.convert("RGBa").resize(size, Image.Resampling.BOX).convert("RGBA"))
    subject = small[..., 3] > 127
    outline = subject & grown(~subject, 1)
    if not outline.any():
        return 0.0
    behind = np.asarray(ground.convert("RGB").resize(size, Image.Resampling.BOX))
    tone, ground_tone = (lightness(pixels[outline]) for pixels in (small[..., :3], behind))
    return float(((tone < DARK) & (ground_tone - tone < SWALLOWED)).mean())


def lightness(pixels: np.ndarray) -> np.ndarray:
    """(N, 3) sRGB -> L* of CIELAB, (N,) in 0..100."""
    values = pixels / 255.0
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    relative = linear @ np.array([0.2126, 0.7152, 0.0722])
    lightness: np.ndarray = np.where(relative > 0.008856, 116 * np.cbrt(relative) - 16, 903.3 * relative)
    return lightness


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
