"""What stands on a plain ground, cut out with soft edges. numpy and PIL only.

The ground is what is connected to the corners and has their colour. Pixels at its edge are mixtures of ground and subject: how much
is subject, and of which colour, follows from the strongest colour nearby (blue screen matting, Smith and Blinn 1996, of one known ground).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

TOLERANCE = 12
"""How far, summed over channels, a pixel may be from its corner's colour and still be ground: a pale rim must hold."""
GAP = 3
"""Bites that the ground takes out of a pale subject are filled again where they are at most twice as wide."""
FRINGE, LARGE = 2, 200
"""So many pixels may be mixed with the ground, and as many again for every so many of the picture's edge."""
PALE = 30.0
"""Nothing nearby is farther than this from the ground's colour: then mixtures cannot be told."""


KEPT = 8
"""Pictures whose cut-outs are remembered: the covers of a job, and of a crowd, are of the same few items."""


def cut_out(picture: Image.Image, edge: int | None = None) -> Image.Image:
    """RGBA of `picture` without the plain ground connected to its corners, cropped to what is left.

    A picture without a plain ground comes back whole. `edge` as for `product_of`.
    """
    out = product_of(picture, edge)
    return picture.convert("RGBA") if out is None else out.crop(out.getchannel("A").getbbox())


def product_of(picture: Image.Image, edge: int | None = None) -> Image.Image | None:
    """RGBA of what stands on the plain ground of `picture`, as a brief's product; None where there is no such ground.

    edge: pixels that are enough for the longer edge of the picture, all of them by default.
    """
    rgb = picture.convert("RGB")
    if edge is not None:
        rgb.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    return _product(rgb.size, rgb.tobytes())


@lru_cache(KEPT)
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
    # What cannot be told is subject beside the subject, but for specks.
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
        alike = np.abs(pixels - pixels[corner]).sum(-1) <= TOLERANCE
        found = np.zeros_like(ground)
        found[corner] = True
        reached = 0
        while reached < (reached := int(found.sum())):
            found = _along_rows(_along_rows(found, alike).T, alike.T).T
        ground |= found
    return ground


def _along_rows(found: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """All of each run of pixels `alike` in a row of which some is `found`."""
    runs = np.cumsum(np.pad(~alike, ((0, 0), (1, 0)), constant_values=True)).reshape(len(alike), -1)[:, 1:]
    hit = np.zeros(runs[-1, -1] + 1, bool)
    hit[runs[found & alike]] = True
    return hit[runs] & alike


def _shares(apart: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """apart (h, w, 3) from the ground -> (share of subject in 0..1, how far the strongest colour within `reach` pixels is), each (h, w)."""
    strongest = np.pad(apart, ((reach, reach), (reach, reach), (0, 0)))
    far = np.linalg.norm(strongest, axis=-1)
    for axis in (0, 1):
        rows, lengths = strongest, far
        for step in [*range(-reach, 0), *range(1, reach + 1)]:
            length = np.roll(lengths, step, axis)
            more = length > far
            strongest = np.where(more[..., None], np.roll(rows, step, axis), strongest)
            far = np.where(more, length, far)
    strongest, far = strongest[reach:-reach, reach:-reach], far[reach:-reach, reach:-reach]
    return ((apart * strongest).sum(-1) / np.maximum(far**2, 1)).clip(0, 1), far


def _without_bites(subject: np.ndarray) -> np.ndarray:
    return ~grown(~grown(subject, GAP), GAP)


def grown(mask: np.ndarray, by: int) -> np.ndarray:
    """(h, w) bool with all within a square of `by` pixels around."""
    out = np.pad(mask, by)
    for axis in (0, 1):
        out = np.logical_or.reduce([np.roll(out, step, axis) for step in range(-by, by + 1)])
    return out[by:-by, by:-by]
