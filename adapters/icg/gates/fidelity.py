"""Whether the item's own picture is whole and legible in a cover: one number, 1 for the picture itself.

The picture is located in the cover. Where it has detail or a subject, structure (the contrast and structure terms of SSIM, Wang et al.
2004, at two scales) and colour must agree; what is missing, smeared or painted over does not. A picture without a cut-out must fill the
cover in one direction, and a cut-out must not be a thumbnail. numpy and PIL only.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from icg.compose.cut_out import component, grown
from icg.compose.detail import detail
from icg.compose.ink import LIGHT, is_ink
from icg.compose.layout import blurred
from icg.gates.locate import Region, locate, settled, view
from icg.pictures import over_white

PLAIN, NEAR = 0.8, 24.0
"""Share of the border within this distance of its median colour from which on the ground is plain."""
OPAQUE = 250
"""Alpha from which on a pixel of the picture must be in the cover as it is; through others the cover's ground shows."""
COMPARED = 320
"""Longer edge at which the picture and its region are compared, or less if either is smaller."""
RADII = (2, 5)
"""Of the windows in which structure is compared, in pixels."""
CONTRAST = 58.5
"""SSIM's constant, (0.03 * 255)^2."""
ALIKE, OTHER = 26.0, 80.0
"""Distances of mean colours in a window: up to the first a grade of the same picture, from the second on another picture."""
RIM = 0.015
"""Width of a subject's rim, in shares of the picture: it is mixed with a ground that is another one in the cover, and is not compared."""
EVEN = 0.3
"""Weight of the subject's plain parts, relative to the mean weight of its detail."""
BAD = 0.5
"""A place where the picture agrees less than this is lost: its weight counts twice."""
LEGIBLE = (0.42, 0.56)
"""The longer edge of a cut-out in shares of the cover's shorter one: a thumbnail, and large enough."""
IN_SCENE = (0.12, 0.2)
"""The same in a scene, where a product is as large as beside what stands there."""
CERTAIN = 0.9
"""A picture that agrees this much where it was supposed to be is not searched for."""
FILLS = (0.8, 0.93)
"""The same for a whole picture: its larger share of the cover's width or height."""


def fidelity(
    cover: Image.Image, reference: Image.Image, product: Image.Image | None = None, scene: bool = False
) -> float:
    """In 0..1. reference: the item's picture. product: the RGBA cut-out of it that stands in the cover, None for the whole picture. scene:
    it stands among other things, and may be smaller.

    The subject is found anew from `reference`, so that a bitten cut-out does not vouch for itself: it is what the picture's own alpha
    says is opaque, or what stands on a plain ground. With alpha it is located by its outline too: a drawing of one colour has nothing else.
    Such a drawing may be in the light colour in which dark grounds have it (`icg.compose.ink`).
    """
    legible = FILLS if product is None else IN_SCENE if scene else LEGIBLE
    dark = _fidelity(cover, reference, product, over_white(reference), legible)
    if (
        dark >= CERTAIN
        or product is None
        or not (reference.has_transparency_data and is_ink(reference.convert("RGBA")))
    ):
        return dark
    light = Image.new("RGB", reference.size)
    light.paste(LIGHT, (0, 0), reference.convert("RGBA").getchannel("A"))
    return max(dark, _fidelity(cover, reference, product, light, legible))


def _fidelity(
    cover: Image.Image,
    reference: Image.Image,
    product: Image.Image | None,
    picture: Image.Image,
    legible: tuple[float, float],
) -> float:
    """See `fidelity`. picture: RGB of the reference's size, what the cover is to show where the reference is opaque. legible: from which
    share of the cover it counts, and from which it counts wholly."""
    whole, mask, rim = product is None, np.ones(picture.size[::-1], bool), max(2, round(RIM * max(reference.size)))
    opaque = None if whole else _opaque(reference)
    if product is not None:
        subject = subject_mask(picture) if opaque is None else opaque
        mask = np.asarray(product.resize(picture.size).getchannel("A")) > 127 if subject is None else subject
    if not mask.any():
        return 0.0
    inside = ~grown(~mask, rim)
    mask = inside if inside.mean() > 0.25 * mask.mean() else mask
    strength = detail(picture) * mask
    weight = mask * (strength + EVEN * max(float(strength[mask].mean()), 1e-3))
    where = weight if opaque is None else grown(opaque, rim)
    ys, xs = np.nonzero(where)
    box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
    picture, weight, where = picture.crop(box), *(a[box[1] : box[3], box[0] : box[2]] for a in (weight, where))
    rgb = cover.convert("RGB")

    def value(region: Region) -> float:
        return round(_legible(region, rgb.size, whole, legible) * agreement(rgb, region, picture, weight), 4)

    # Where it was supposed to be it is most likely: a search takes longer, and does not find things without edges.
    if whole:
        supposed = value(settled(rgb, picture, where, Region(0, 0, *rgb.size, 1.0)))
    else:
        supposed = value(at) if (at := _set_in(cover, product, reference.size, box)) is not None else 0.0
    return supposed if supposed >= CERTAIN else max(supposed, value(locate(rgb, picture, where)))


def _set_in(
    cover: Image.Image, product: Image.Image | None, size: tuple[int, int], box: tuple[int, int, int, int]
) -> Region | None:
    """Where `box` of a reference of this size is in the cover, by the place where its cut-out was set in; None if that is not known."""
    outline = None if product is None else product.resize(size).getchannel("A").getbbox()
    if outline is None or "place" not in cover.info:
        return None
    edge, x, y = cover.info["place"]
    left, top, right, bottom = outline
    scale = edge * min(cover.size) / max(right - left, bottom - top)
    corner = x * cover.width - scale * (right - left) / 2, y * cover.height - scale * (bottom - top) / 2
    width, height = scale * (box[2] - box[0]), scale * (box[3] - box[1])
    return Region(corner[0] + scale * (box[0] - left), corner[1] + scale * (box[1] - top), width, height, 1.0)


def _opaque(reference: Image.Image) -> np.ndarray | None:
    """(h, w) bool of a picture with alpha; None for one that has none, or that is transparent nowhere or opaque nowhere."""
    if not reference.has_transparency_data:
        return None
    alpha = np.asarray(reference.convert("RGBA").getchannel("A"))
    return alpha >= OPAQUE if alpha.min() == 0 and alpha.max() == 255 else None


def subject_mask(picture: Image.Image) -> np.ndarray | None:
    """(h, w) bool: what the plain ground around RGB `picture` encloses; None if its ground is not plain, or if nothing stands on it."""
    pixels = np.asarray(picture, np.float32)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.median(border, axis=0)
    if (np.linalg.norm(border - colour, axis=-1) < NEAR).mean() < PLAIN:
        return None
    near = np.pad(np.linalg.norm(pixels - colour, axis=-1) < NEAR, 1, constant_values=True)
    mask = ~component(near, (0, 0))[1:-1, 1:-1]
    return mask if mask.mean() > 0.01 else None


def agreement(cover: Image.Image, region: Region, picture: Image.Image, weight: np.ndarray) -> float:
    """The weighted share 0..1 of RGB `picture` that the cover shows in `region`."""
    scale = min(1.0, COMPARED / max(picture.size), COMPARED / max(region.width, region.height))
    size = (max(8, round(picture.width * scale)), max(8, round(picture.height * scale)))
    box = (region.left, region.top, region.left + region.width, region.top + region.height)
    ours = np.asarray(picture.resize(size, Image.Resampling.BOX), np.float32)
    shown = np.asarray(view(cover, box, size), np.float32)
    weight = np.asarray(Image.fromarray(weight.astype(np.float32)).resize(size, Image.Resampling.BOX))
    mask = (weight > 0).astype(np.float32)
    places = np.mean([_alike(ours, shown, mask, radius) for radius in RADII], axis=0)
    total = max(float(weight.sum()), 1e-6)
    lost = float((weight * (places < BAD)).sum()) / total
    return float((weight * places).sum()) / total * (1 - lost)


def _alike(ours: np.ndarray, shown: np.ndarray, mask: np.ndarray, radius: int) -> np.ndarray:
    """(h, w) in 0..1: structure times colour of two pictures (h, w, 3) in windows, inside the mask."""
    count = np.maximum(blurred(mask, radius), 1e-6)

    def mean(values: np.ndarray) -> np.ndarray:
        return blurred(values * mask, radius) / count

    a, b = (picture @ np.array([0.299, 0.587, 0.114], np.float32) for picture in (ours, shown))
    mean_a, mean_b = mean(a), mean(b)
    variances = np.maximum(mean(a * a) - mean_a**2, 0) + np.maximum(mean(b * b) - mean_b**2, 0)
    structure = (2 * (mean(a * b) - mean_a * mean_b) + CONTRAST) / (variances + CONTRAST)
    distance = np.sqrt(sum((mean(ours[..., c]) - mean(shown[..., c])) ** 2 for c in range(3)))
    colour = ((OTHER - distance) / (OTHER - ALIKE)).clip(0, 1)
    result: np.ndarray = structure.clip(0, 1) * colour
    return result


def _legible(region: Region, size: tuple[int, int], whole: bool, legible: tuple[float, float]) -> float:
    share = max(region.width / size[0], region.height / size[1]) if whole else max(region[2:4]) / min(size)
    low, high = legible
    return float(np.clip((share - low) / (high - low), 0, 1))
