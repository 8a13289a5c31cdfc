"""A picture without a clean cut-out fills the cover: cropped where nothing is lost, extended by its own ground, gently graded.

Never a picture in a picture. Crops keep what the saliency network sees and what has detail; extensions are the picture's own mirror
image, softer with distance. The grade moves colours, not structure. numpy and PIL; torch only for a crop.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from icg.compose.detail import detail

RATIOS = (0.5, 2.0)
"""Width by height of a cover that follows its picture."""
IMPORTANT = 0.997
"""Share of the importance of a picture that a crop keeps."""
GRADE = 0.25
"""How far the mean colour goes towards the user's, before LIMIT."""
LIMIT = 10.0
"""Grey levels a channel moves at most."""


def full_bleed(picture: Image.Image, size: tuple[int, int], ground: Image.Image, strength: float) -> Image.Image:
    """RGB of `size` (width, height) filled by the RGB `picture`; the user's palette is that of `ground`, followed as far as `strength`."""
    aspect = size[0] / size[1]
    if abs(np.log(picture.width / picture.height / aspect)) > 0.02:
        picture = extended(cropped_to(picture, aspect), aspect)
    filled = picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
    return graded(filled, ground, strength)


def ratio(picture: Image.Image) -> float:
    """Width by height of a cover that follows this picture, within RATIOS."""
    return float(np.clip(picture.width / picture.height, *RATIOS))


def importance(picture: Image.Image) -> np.ndarray:
    """(h, w), sums to 1: saliency and detail in equal parts; even if there is neither."""
    from icg.models.saliency import saliency  # torch: only crops need it

    share = saliency(picture)
    small = picture.convert("RGB").resize(share.shape[::-1], Image.Resampling.LANCZOS)
    edges = detail(small)
    parts = [part / total for part in (share, edges) if (total := float(part.sum())) > 1]
    even = np.full(share.shape, 1 / share.size)
    result: np.ndarray = np.mean(parts, axis=0) if parts else even
    return result


def cropped_to(picture: Image.Image, aspect: float) -> Image.Image:
    """`picture` cropped towards the ratio `aspect`, as far as IMPORTANT of its importance stays in it."""
    width, height = picture.size
    along = 1 if width / height > aspect else 0
    whole = width if along else height
    target = height * aspect if along else width / aspect
    profile = importance(picture).sum(1 - along)
    mass = np.concatenate([[0], np.cumsum(profile)])
    lengths = np.arange(1, len(profile) + 1)
    best = (0, len(profile))
    for length in lengths[lengths >= target / whole * len(profile) - 1]:
        inside = mass[length:] - mass[:-length]
        if inside.max() >= IMPORTANT:
            best = (int(inside.argmax()), int(length))
            break
    low, high = (round(v / len(profile) * whole) for v in (best[0], best[0] + best[1]))
    return picture.crop((low, 0, high, height) if along else (0, low, width, high))


def extended(picture: Image.Image, aspect: float) -> Image.Image:
    """`picture` continued on two sides to the ratio `aspect` by its own mirror image, which blurs with the distance."""
    width, height = picture.size
    along = 1 if width / height < aspect else 0
    more = round(height * aspect) - width if along else round(width / aspect) - height
    if more <= 0:
        return picture
    before = (more // 2, more - more // 2)
    pads = ((0, 0), before, (0, 0)) if along else (before, (0, 0), (0, 0))
    mirrored = Image.fromarray(np.pad(np.asarray(picture), pads, "symmetric"))
    length = np.arange(mirrored.width if along else mirrored.height)
    distance = np.maximum(before[0] - length, length - (length[-1] - before[1])).clip(0) / max(before)
    out = np.asarray(mirrored, np.float32)
    edge = min(width, height)
    for start, radius in ((0.0, 0.015), (0.02, 0.05), (0.1, 0.12)):
        soft = np.asarray(mirrored.filter(ImageFilter.GaussianBlur(max(1, edge * radius))), np.float32)
        share = ((distance - start) / 0.06).clip(0, 1)
        share = share[None, :, None] if along else share[:, None, None]
        out = out * (1 - share) + soft * share
    return Image.fromarray(out.round().astype(np.uint8))


def graded(picture: Image.Image, ground: Image.Image, strength: float) -> Image.Image:
    """RGB `picture`, its colours moved towards the mean colour of `ground`, most in the middle tones, at most LIMIT a channel.

    Brightness stays: the shift has no luminance of its own, so text keeps its contrast.
    """
    if strength <= 0:
        return picture
    towards = np.asarray(ground.convert("RGB").resize((1, 1), Image.Resampling.BOX), np.float32)[0, 0]
    shift = (towards - _luma(towards)) * GRADE
    shift = (shift - _luma(shift)).clip(-LIMIT, LIMIT) * strength
    pixels = np.asarray(picture.convert("RGB"), np.float32)
    tone = _luma(pixels)[..., None] / 255
    return Image.fromarray((pixels + shift * 4 * tone * (1 - tone)).round().clip(0, 255).astype(np.uint8))


def _luma(colours: np.ndarray) -> np.ndarray:
    """(..., 3) -> (...)."""
    return colours @ np.array([0.299, 0.587, 0.114], np.float32)
