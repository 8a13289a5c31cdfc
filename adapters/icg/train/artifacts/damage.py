"""Damage of pictures with the mask of what is damaged: blur, smears, an autoencoder's remains, banding, halos. Knows no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from icg.compose.cut_out import grown
from icg.compose.layout import blurred

Damage = Callable[[Image.Image, np.random.Generator], tuple[Image.Image, np.ndarray]]
"""RGB -> the damaged RGB picture, and (h, w) bool: where."""


def blob(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A soft mask of one to three ellipses."""
    mask = Image.new("L", size)
    for _ in range(rng.integers(1, 4)):
        width, height = (edge * rng.uniform(0.2, 0.6) for edge in size)
        x, y = size[0] * rng.uniform(0, 1) - width / 2, size[1] * rng.uniform(0, 1) - height / 2
        ImageDraw.Draw(mask).ellipse((x, y, x + width, y + height), fill=255)
    return mask.filter(ImageFilter.GaussianBlur(max(size) * 0.01))


def smeared(picture: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, np.ndarray]:
    """Blurred or dragged in blobs."""
    mask, edge = blob(picture.size, rng), max(picture.size)
    if rng.random() < 0.5:
        bad = picture.filter(ImageFilter.GaussianBlur(edge * rng.uniform(0.006, 0.03)))
    else:
        length, pixels = max(3, round(edge * rng.uniform(0.02, 0.08))), np.asarray(picture, np.float32)
        bad = Image.fromarray(
            np.mean([np.roll(pixels, n, int(rng.integers(2))) for n in range(length)], 0).astype(np.uint8)
        )
    return _in(picture, bad, mask)


def banded(picture: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, np.ndarray]:
    """A smooth gradient over it in too few levels, in blobs or all over."""
    levels = 255 / rng.integers(5, 20)
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(max(picture.size) * rng.uniform(0.02, 0.06))), np.float32)
    bad = Image.fromarray(((soft / levels).round() * levels).clip(0, 255).astype(np.uint8))
    return _in(picture, bad, blob(picture.size, rng))


def haloed(picture: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, np.ndarray]:
    """Sharpened far too much around its edges."""
    radius = max(picture.size) * rng.uniform(0.008, 0.02)
    bad = picture.filter(ImageFilter.UnsharpMask(radius, int(rng.uniform(180, 400)), 2))
    changed = np.abs(np.asarray(bad, int) - np.asarray(picture, int)).max(-1) > 24
    return bad, grown(changed, 4)


def autoencoded(vae: Any) -> Damage:
    """Through the starter's autoencoder at 128 pixels, all over or in blobs: what covers were before."""
    import torch

    def damage(picture: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, np.ndarray]:
        small = picture.resize((int(rng.integers(8, 17)) * 8, int(rng.integers(8, 17)) * 8), Image.Resampling.LANCZOS)
        x = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.inference_mode():
            y = vae.decode(vae.encode(x).latent).sample[0]
        back = ((y.clamp(-1, 1) + 1) * 127.5).byte().permute(1, 2, 0).numpy()
        bad = Image.fromarray(back).resize(picture.size, Image.Resampling.BICUBIC)
        whole = Image.new("L", picture.size, 255)
        return _in(picture, bad, whole if rng.random() < 0.5 else blob(picture.size, rng))

    return damage


def _in(picture: Image.Image, bad: Image.Image, mask: Image.Image) -> tuple[Image.Image, np.ndarray]:
    """`bad` where the mask is, which counts as damage only where it changed something to be seen."""
    out = Image.composite(bad, picture, mask)
    change = np.abs(np.asarray(out, np.float32) - np.asarray(picture, np.float32)).mean(-1)
    return out, (np.asarray(mask) > 127) & (blurred(change, 8) > 3)
