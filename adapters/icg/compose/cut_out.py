"""Cuts out the subject of a picture with a plain ground, with soft edges. numpy and PIL only.

The ground is connected to the corners and has their colour. Pixels at its edge are mixtures of ground and subject: the subject's share and
colour follow from the strongest colour nearby (blue screen matting, Smith and Blinn 1996, with one known ground).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

TOLERANCE = 12
"""Largest difference of a ground pixel from its corner's colour, summed over channels: a pale rim must not count as ground."""
GAP = 3
"""Holes that the ground cuts into a pale subject are filled if they are at most twice as wide."""
FRINGE, LARGE = 2, 200
"""Width in pixels of the mixed fringe; as much again for each LARGE pixels of the picture's longer edge."""
PALE = 30.0
"""If no colour nearby is farther than this from the ground's, mixtures cannot be measured."""


CACHED = 8
"""Pictures whose cut-outs are cached: the covers of a job, and of many users, share few items."""


def cut_out(picture: Image.Image, edge: int | None = None) -> Image.Image:
    """RGBA of `picture` without the plain ground connected to its corners, cropped to the subject.

    A picture without a plain ground is returned whole. `edge`: see `product_of`.
    """
    out = product_of(picture, edge)
    return picture.convert("RGBA") if out is None else out.crop(out.getchannel("A").getbbox())


def product_of(picture: Image.Image, edge: int | None = None) -> Image.Image | None:
    """RGBA of the subject on the plain ground of `picture`, for a brief's product; None without such a ground.

    edge: enough pixels for the longer edge of the picture; None keeps all.
    """
    rgb = picture.convert("RGB")
    if edge is not None:
        rgb.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    return _product(rgb.size, rgb.tobytes())


@lru_cache(CACHED)
def _product(size: tuple[int, int], data: bytes) -> Image.Image | None:
    rgb = Image.frombytes("RGB", size, data)
    pixels = np.asarray(rgb, np.float32)
    subject = ~_ground(pixels)
    fringe = FRINGE * (1 + max(rgb.size) // LARGE)
    inner = ~grown(~subject, fringe)
    if not 0.02 < subject.mean() < 0.95 or not inner.any():
        return None
    rim = _without_bites(subject) & ~inner
    colour = np.median(pixels[~subject], axis=0)
    share, far = _shares(pixels - colour, fringe)
    # Pale pixels beside the subject count as subject, except specks.
    pale = grown(inner, 2 * fringe) & _without_bites(grown(~grown(~subject, 1), 1))
    share = np.where(far < PALE, pale, share)
    unmixed = colour + (pixels - colour) / np.maximum(share, 0.25)[..., None]
    pixels = np.where((rim & (far >= PALE))[..., None], unmixed.clip(0, 255), pixels)
    alpha = np.where(inner, 255, np.where(rim, share * 255, 0))
    return Image.fromarray(np.dstack([pixels, alpha]).astype(np.uint8))


def _ground(pixels: np.ndarray) -> np.ndarray:
    """(h, w) bool: connected to a corner through pixels of its colour."""
    ground = np.zeros(pixels.shape[:2], bool)
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        matches = np.abs(pixels - pixels[corner]).sum(-1) <= TOLERANCE
        connected = np.zeros_like(ground)
        connected[corner] = True
        reached = 0
        while reached < (reached := int(connected.sum())):
            connected = _along_rows(_along_rows(connected, matches).T, matches.T).T
        ground |= connected
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
