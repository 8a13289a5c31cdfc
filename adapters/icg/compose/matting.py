"""Cuts a subject out of a picture without a plain ground, where that can be done well; None where it cannot.

The saliency network gives the rough share of the subject, a guided filter (arXiv:1505.00996) fits it to the picture's edges, and
colours of mixed pixels come from the subject's inside. Rejected are masks that are unsure, fall apart, touch the border, or leave
detail behind that may be lettering: a poster keeps its title.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from icg.compose.cut_out import grown, largest_share
from icg.compose.detail import detail, luminance
from icg.compose.layout import blurred

UNSURE, LARGEST, TOUCHES, LOST = 0.2, 0.95, 0.02, 0.12
"""Allowed at most: share of the subject's pixels that are neither in nor out; at least: share of the largest part; at most: share of the
border that the subject covers; at most: share of the picture's detail that would be cut away. Chosen on emoji art set into photographs
and on photographs of landscapes (docs/artwork.md)."""
AGREES, SURE = 0.85, (0.6, 0.9)
"""A bitten cut-out is mended if it and the network's mask share so much of their union; by what the mask is sure of, from and to."""
AREA = (0.06, 0.7)
"""Share of the picture that the subject covers."""
WORK = 256
"""Longer edge at which the guided filter's coefficients are computed (the fast guided filter)."""
REACH, EPSILON = 4, 12.0
"""The guided filter's radius in pixels, and the luminance deviation below which it smooths."""


@dataclass(frozen=True)
class Confidence:
    """Shares in 0..1: how unsure a mask is, how much of it the largest part has, how much of the border it covers, its area, and how much
    detail of the picture is outside it."""

    unsure: float
    largest: float
    touches: float
    area: float
    lost: float

    @property
    def enough(self) -> bool:
        """Whether the mask may cut."""
        return (
            self.unsure <= UNSURE
            and self.largest >= LARGEST
            and self.touches <= TOUCHES
            and AREA[0] <= self.area <= AREA[1]
            and self.lost <= LOST
        )


def matte(picture: Image.Image) -> Image.Image | None:
    """RGBA of the RGB `picture` with the matte of its subject; None if the confidence is too low."""
    from icg.models.saliency import saliency  # torch: only pictures without a plain ground need it

    share = saliency(picture)
    if not confidence(share, picture).enough:
        return None
    alpha = fitted(share, picture)
    return decontaminated(picture, alpha)


def mended(cut: Image.Image, picture: Image.Image) -> Image.Image:
    """A cut-out, RGBA, with what its ground has bitten out of a pale subject; unchanged if the network sees another one."""
    from icg.models.saliency import saliency

    share, alpha = _resized(saliency(picture), picture.size), np.asarray(cut.getchannel("A"))
    both, either = (share > 0.5) & (alpha > 127), (share > 0.5) | (alpha > 127)
    if both.sum() < AGREES * either.sum():
        return cut
    filled = np.maximum(alpha, ((share - SURE[0]) / (SURE[1] - SURE[0])).clip(0, 1) * 255)
    colours = np.where((filled > alpha)[..., None], np.asarray(picture), np.asarray(cut.convert("RGB")))
    return Image.fromarray(np.dstack([colours, filled]).astype(np.uint8))


def confidence(share: np.ndarray, picture: Image.Image) -> Confidence:
    """Of the mask `share` (h, w) in 0..1 of `picture`; the mask may be smaller."""
    inside = share > 0.5
    area = float(inside.mean())
    if not inside.any():
        return Confidence(1.0, 0.0, 0.0, 0.0, 1.0)
    border = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    soft = ((share > 0.1) & (share < 0.9)).sum() / inside.sum()
    largest = largest_share(inside)
    small = picture.convert("RGB").resize(share.shape[::-1], Image.Resampling.LANCZOS)
    weight = detail(small)
    outside = ~grown(inside, max(2, len(inside) // 40))
    lost = float((weight * outside).sum() / max(float(weight.sum()), 1e-6))
    return Confidence(float(soft), float(largest), float(border.mean()), area, lost)


def fitted(share: np.ndarray, picture: Image.Image) -> np.ndarray:
    """(h, w) in 0..1, of the picture's size: the mask on the picture's edges."""
    scale = min(1.0, WORK / max(picture.size))
    small = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    guide = luminance(picture.resize(small, Image.Resampling.BOX))
    rough = _resized(share, small)
    count = blurred(np.ones_like(guide), REACH)
    mean_guide, mean_rough = blurred(guide, REACH) / count, blurred(rough, REACH) / count
    covariance = blurred(guide * rough, REACH) / count - mean_guide * mean_rough
    slope = covariance / (blurred(guide * guide, REACH) / count - mean_guide**2 + EPSILON**2)
    offset = mean_rough - slope * mean_guide
    slope, offset = blurred(slope, REACH) / count, blurred(offset, REACH) / count
    alpha = _resized(slope, picture.size) * luminance(picture) + _resized(offset, picture.size)
    rough = _resized(share, picture.size)
    alpha = np.where(rough > 0.98, 1, np.where(rough < 0.02, 0, alpha))
    return ((alpha - 0.15) / 0.7).clip(0, 1)


def decontaminated(picture: Image.Image, alpha: np.ndarray) -> Image.Image:
    """RGBA: opaque pixels as they are; mixed pixels take the colour of the subject's inside nearby."""
    pixels = np.asarray(picture.convert("RGB"), np.float32)
    sure = (alpha > 0.98).astype(np.float32)
    colour, empty = pixels.copy(), alpha <= 0.98
    for radius in (2, 5, 12):
        weight = blurred(sure, radius)
        near = np.stack([blurred(pixels[..., c] * sure, radius) for c in range(3)], -1)
        fresh = empty & (weight > 0.02)
        colour[fresh] = near[fresh] / weight[fresh][:, None]
        empty &= ~fresh
    return Image.fromarray(np.dstack([colour, (alpha * 255).round()]).clip(0, 255).astype(np.uint8))


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
