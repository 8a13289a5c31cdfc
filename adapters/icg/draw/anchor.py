"""Anchoring a cover in the item's own picture, or in a product's cut-out: set it into the cover in the making.

SDEdit (arXiv:2108.01073) started from a collage: the denoiser first lays out the background its user likes, then the
cut-out is pasted into that estimate, noise is added again and the remaining steps blend the two.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from icg.brief import Brief
from icg.cut_out import cut_out
from icg.models.families import Family

Placed = Image.Image | None
"""What was set into a cover, RGBA of the cover's size, where it is; None before that."""

PLACE = (0.7, 0.5, 0.52)
"""Edge of the subject, its centre's x and y, in shares of the cover, where the draft does not say."""
EDGES = (0.45, 0.88)
"""The smallest and the largest edge."""
SMALL = 48
"""Pixels a side at which the draft is looked at."""
RIM_VOTES, STRANGE = 22, 40.0
"""A pixel belongs to the ground when at least this many rim pixels are within this distance of its colour."""


def blend(family: Family, brief: Brief, guess: Tensor) -> tuple[Tensor, Placed]:
    """Set the brief's product or reference into `guess`, the clean latent (1, C, h, w) as now estimated; and where it is now."""
    picture, placed = collage(family.images(guess)[0], subject(brief))
    pixels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None].to(guess.device).float() / 127.5 - 1
    return family.encode(pixels), placed


def subject(brief: Brief) -> Image.Image:
    """What is set in, cropped: the product, or else the first reference without its plain ground."""
    if brief.product is None:
        return cut_out(brief.references[0], 2 * max(brief.size))
    return brief.product.crop(brief.product.getchannel("A").getbbox())


def with_product(brief: Brief, cover: Image.Image, placed: Placed) -> Image.Image:
    """`cover` as it was decoded, with the brief's product pixel for pixel: where it was set in, or set in now."""
    if brief.product is None:
        return cover
    if placed is None:
        return collage(cover, subject(brief))[0]
    cover.paste(placed, (0, 0), placed)
    return cover


def strange(background: Image.Image) -> np.ndarray:
    """(48, 48) bool: pixels unlike any near the rim, which is what the denoiser drew before its background."""
    small = _small(background)
    rim = np.ones((SMALL, SMALL), bool)
    rim[1:-1, 1:-1] = False
    colours = small[rim]
    distance = np.sqrt(((small[:, :, None] - colours[None, None]) ** 2).sum(-1))
    return np.sort(distance, axis=-1)[..., RIM_VOTES] > STRANGE


def place(mask: np.ndarray) -> tuple[float, float, float]:
    """The place of the draft's subject, from the mask of `strange`: edge and centre in shares of the cover, within EDGES and the cover.

    This keeps the user's framing. PLACE if the mask covers less than 2 %.
    """
    if mask.mean() < 0.02:
        return PLACE
    ys, xs = np.nonzero(mask)
    (top, bottom), (left, right) = (np.percentile(v, (3, 97)) / len(mask) for v in (ys, xs))
    edge = float(np.clip(max(bottom - top, right - left) + 1 / len(mask), *EDGES))
    x, y = (float(np.clip(v, edge / 2, 1 - edge / 2)) for v in ((left + right) / 2, (top + bottom) / 2))
    return edge, x, y


def clear(background: Image.Image, subject: np.ndarray) -> Image.Image:
    """`background` with its `subject` (h, w), bool, filled from the surroundings."""
    small = _small(background)
    mask = Image.fromarray(subject.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(5))
    keep = 1 - np.asarray(mask, np.float32) / 255
    if keep.mean() < 0.03:
        return background
    filled, empty = np.zeros_like(small), np.ones(subject.shape, bool)
    for radius, least in ((2, 0.05), (5, 0.05), (12, 0.05), (24, 0.05), (47, 0.0)):
        near = np.stack([_blur(small[..., c] * keep, radius) for c in range(3)], -1)
        weight = _blur(keep, radius)
        fresh = empty & (weight > least)
        filled[fresh] = near[fresh] / weight[fresh][:, None]
        empty &= ~fresh
    plate = Image.fromarray(filled.clip(0, 255).astype(np.uint8)).resize(background.size, Image.Resampling.BICUBIC)
    soft = mask.resize(background.size, Image.Resampling.BICUBIC)
    return Image.composite(plate, background.convert("RGB"), soft)


def _small(background: Image.Image) -> np.ndarray:
    return np.asarray(background.convert("RGB").resize((SMALL, SMALL), Image.Resampling.BILINEAR), np.float32)


def _blur(values: np.ndarray, radius: int) -> np.ndarray:
    """Mean over a (2 radius + 1) square of (h, w), zeros outside."""
    total = np.pad(values, ((radius + 1, radius), (radius + 1, radius))).cumsum(0).cumsum(1)
    step = 2 * radius + 1
    return (total[step:, step:] - total[:-step, step:] - total[step:, :-step] + total[:-step, :-step]) / step**2


def collage(background: Image.Image, subject: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The cut-out `subject` where the draft `background` has its own, with a soft shadow; and the subject alone, on nothing.

    Both are of the background's size, the second one RGBA.
    """
    mask = strange(background)
    share, x, y = place(mask)
    edge = share * min(background.size)
    factor = edge / max(subject.size)
    size = (max(1, round(subject.width * factor)), max(1, round(subject.height * factor)))
    at = (round(background.width * x - size[0] / 2), round(background.height * y - size[1] / 2))
    alone = Image.new("RGBA", background.size)
    alone.paste(subject.resize(size, Image.Resampling.LANCZOS), at)
    out = clear(background, mask).copy()
    shadow = Image.new("L", out.size)
    shadow.paste(alone.getchannel("A"), (0, round(edge * 0.035)))
    shadow = shadow.filter(ImageFilter.GaussianBlur(edge * 0.03)).point(lambda v: int(v * 0.3))
    out.paste((20, 20, 40), (0, 0), shadow)
    out.paste(alone, (0, 0), alone)
    return out, alone
