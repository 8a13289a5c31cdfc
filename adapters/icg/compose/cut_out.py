"""Cuts out the subject of a picture with a plain ground, with soft edges. numpy and PIL only.

The ground is connected to the corners and has their colour. Pixels at its edge are mixtures of ground and subject: the subject's share and
colour follow from the strongest colour nearby (blue screen matting, Smith and Blinn 1996, with one known ground).
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from icg.compose.layout import blurred

TOLERANCE = 12
"""Largest difference of a ground pixel from its corner's colour, summed over channels: a pale rim must not count as ground."""
GAP = 3
"""Holes that the ground cuts into a pale subject are filled if they are at most twice as wide."""
FRINGE, LARGE, STEEP = 2, 200, 0.7
"""Width in pixels of the mixed fringe; as much again for each LARGE pixels of the picture's longer edge, at most: no wider than it takes
the outline to reach a share of STEEP of its contrast. Otherwise the shading of a round subject would count as a mixture."""
PALE = 30.0
"""If no colour nearby is farther than this from the ground's, mixtures cannot be measured."""
BORDER, LARGEST, CLEAN, STEP, NOISE = 0.8, 0.8, 0.96, 14.0, 1.05
"""Least share of the border that is ground; of the subject's largest part, as a title and a picture are two; and of the outline with a
colour in FRINGE pixels that is farther than STEP from the ground's. Largest deviation of the ground. A picture that fades into black has
no such outline, and would be bitten into. 155 of 160 emoji on white as WebP pass, the sample catalogue, and one of 250 posters."""


def cut_out(picture: Image.Image) -> Image.Image | None:
    """RGBA of the RGB `picture` without the plain ground connected to its corners, of the same size; None without such a ground."""
    pixels = np.asarray(picture, np.float32)
    subject = ~_ground(pixels)
    fringe = _fringe(pixels, subject)
    inner = ~grown(~subject, fringe)
    border = np.concatenate([subject[0], subject[-1], subject[:, 0], subject[:, -1]])
    if not 0.02 < subject.mean() < 0.95 or not inner.any() or border.mean() > 1 - BORDER:
        return None
    if pixels[~subject].std(0).mean() > NOISE or largest_share(subject) < LARGEST:
        return None
    top, left, bottom, right = _box(subject, 4 * fringe)
    out = np.dstack([pixels, np.zeros(subject.shape, np.float32)])
    part = np.s_[top:bottom, left:right]
    mixed = _unmixed(pixels[part], subject[part], inner[part], np.median(pixels[~subject], axis=0), fringe)
    if mixed is None:
        return None
    out[part] = mixed
    return Image.fromarray(out.astype(np.uint8))


def pale(cut: Image.Image) -> float:
    """The share of the outline of a cut-out, RGBA, that is hardly darker than its ground: there the ground may have bitten into it."""
    pixels, alpha = np.asarray(cut.convert("RGB"), np.float32), np.asarray(cut.getchannel("A"))
    subject = alpha > 127
    offsets = np.linalg.norm(pixels - np.median(pixels[alpha == 0], axis=0), axis=-1) * subject
    strongest = Image.fromarray(offsets.clip(0, 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * FRINGE + 1))
    outline = subject & grown(~subject, 1)
    return float((np.asarray(strongest)[outline] < PALE + 10).mean()) if outline.any() else 0.0


def _fringe(pixels: np.ndarray, subject: np.ndarray) -> int:
    """Width in pixels of the mixed fringe around the subject (h, w)."""
    most = FRINGE * (1 + max(subject.shape) // LARGE)
    outline = subject & grown(~subject, 1)
    if most == FRINGE or not outline.any():
        return FRINGE
    offsets = np.linalg.norm(pixels - np.median(pixels[~subject], axis=0), axis=-1).clip(0, 255)
    image = Image.fromarray(offsets.astype(np.uint8))
    contrasts = [
        float(np.median(np.asarray(image.filter(ImageFilter.MaxFilter(2 * width + 1)))[outline]))
        for width in range(FRINGE, most + 1)
    ]
    steep = [n for n, contrast in enumerate(contrasts) if contrast >= STEEP * contrasts[-1]]
    return FRINGE + steep[0]


def _unmixed(
    pixels: np.ndarray, subject: np.ndarray, inner: np.ndarray, colour: np.ndarray, fringe: int
) -> np.ndarray | None:
    """(h, w, 4): colours without the ground's and the subject's share in 0..255; None if its outline does not stand out."""
    outline = subject & grown(~subject, 1)
    if grown(np.linalg.norm(pixels - colour, axis=-1) >= STEP, FRINGE)[outline].mean() < CLEAN:
        return None
    rim = _without_bites(subject) & ~inner
    share, far = _shares(pixels - colour, fringe)
    # Pale pixels beside the subject count as subject, except specks.
    pale = grown(inner, 2 * fringe) & _without_bites(grown(~grown(~subject, 1), 1))
    share = np.where(far < PALE, pale, share)
    unmixed = colour + (pixels - colour) / np.maximum(share, 0.25)[..., None]
    pixels = np.where((rim & (far >= PALE))[..., None], unmixed.clip(0, 255), pixels)
    return np.dstack([pixels, np.where(inner, 255, np.where(rim, share * 255, 0))])


def _box(mask: np.ndarray, margin: int) -> tuple[int, int, int, int]:
    """top, left, bottom, right of the true values, with a margin."""
    ys, xs = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    top, left = (max(int(v[0]) - margin, 0) for v in (ys, xs))
    bottom, right = (min(int(v[-1]) + 1 + margin, edge) for v, edge in zip((ys, xs), mask.shape, strict=True))
    return top, left, bottom, right


def largest_share(subject: np.ndarray) -> float:
    """The share of its largest part in a mask (h, w), after gaps of 4 % of the longer edge are closed."""
    joined = grown(subject, max(2, max(subject.shape) // 50))
    heart = np.unravel_index(int(np.argmax(blurred(subject.astype(np.float32), 5) * subject)), subject.shape)
    return float((component(joined, (int(heart[0]), int(heart[1]))) & subject).sum() / max(int(subject.sum()), 1))


def component(matches: np.ndarray, start: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: what is connected to `start` through true values of `matches`, along rows and columns."""
    connected = np.zeros_like(matches)
    connected[start] = True
    reached = 0
    while reached < (reached := int(connected.sum())):
        connected = _along_rows(_along_rows(connected, matches).T, matches.T).T
    return connected


def _ground(pixels: np.ndarray) -> np.ndarray:
    """(h, w) bool: connected to a corner through pixels of its colour."""
    ground = np.zeros(pixels.shape[:2], bool)
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        if not ground[corner]:
            ground |= component(np.abs(pixels - pixels[corner]).sum(-1) <= TOLERANCE, corner)
    return ground


def _along_rows(connected: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """Extend `connected` to each run of `matches` pixels in a row that it touches."""
    runs = np.cumsum(np.pad(~matches, ((0, 0), (1, 0)), constant_values=True)).reshape(len(matches), -1)[:, 1:]
    hit = np.zeros(runs[-1, -1] + 1, bool)
    hit[runs[connected & matches]] = True
    return hit[runs] & matches


def _shares(offsets: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """The subject's share (h, w) in 0..1 and the distance (h, w) of the strongest colour in `reach` pixels, from `offsets` (h, w, 3)."""
    strongest = np.pad(offsets, ((reach, reach), (reach, reach), (0, 0)))
    far = np.linalg.norm(strongest, axis=-1)
    for axis in (0, 1):
        rows, lengths = strongest, far
        for step in [*range(-reach, 0), *range(1, reach + 1)]:
            length = np.roll(lengths, step, axis)
            more = length > far
            strongest = np.where(more[..., None], np.roll(rows, step, axis), strongest)
            far = np.where(more, length, far)
    strongest, far = strongest[reach:-reach, reach:-reach], far[reach:-reach, reach:-reach]
    return ((offsets * strongest).sum(-1) / np.maximum(far**2, 1)).clip(0, 1), far


def _without_bites(subject: np.ndarray) -> np.ndarray:
    return ~grown(~grown(subject, GAP), GAP)


def grown(mask: np.ndarray, by: int) -> np.ndarray:
    """(h, w) bool, dilated by a square of `by` pixels."""
    out = np.pad(mask, by)
    for axis in (0, 1):
        out = np.logical_or.reduce([np.roll(out, step, axis) for step in range(-by, by + 1)])
    return out[by:-by, by:-by]
