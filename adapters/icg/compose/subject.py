"""What of an item's picture is set into its covers: its own alpha, or what stands on a plain ground, or a confident matte, or nothing.

Without a cut-out the whole picture fills the cover (`icg.compose.recompose`). numpy and PIL; torch only for a matte.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from icg.compose.cut_out import cut_out, pale
from icg.compose.layout import MAX_EDGE
from icg.compose.matting import matte, mended
from icg.pictures import over_white

BITTEN = 0.05
"""Share of a cut-out's outline that may be pale before it is looked at for bites."""
CACHED = 32
"""Pictures whose cut-outs are cached: the covers of a job, and of many users, share few items."""


def product_of(picture: Image.Image) -> Image.Image | None:
    """RGBA cut-out of the subject of `picture`, for a brief's product; None if there is no clean one.

    A picture with alpha that is 0 somewhere and 255 somewhere is its own cut-out, unchanged; a longer edge above MAX_EDGE is scaled down.
    """
    if max(picture.size) > MAX_EDGE:
        picture = picture.copy()
        picture.thumbnail((MAX_EDGE, MAX_EDGE), Image.Resampling.LANCZOS)
    if picture.has_transparency_data:
        own = picture.convert("RGBA")
        low, high = own.getchannel("A").getextrema()
        if low == 0 and high == 255:
            return own
    rgb = over_white(picture)
    return _cut(rgb.size, rgb.tobytes())


def cropped(product: Image.Image) -> Image.Image:
    """A cut-out without the empty margin around it."""
    return product.crop(product.getchannel("A").getbbox())


def aspect(product: Image.Image) -> float:
    """Width over height of a cut-out without its margin."""
    box = product.getchannel("A").getbbox() or (0, 0, 1, 1)
    return (box[2] - box[0]) / (box[3] - box[1])


def mean_colour(product: Image.Image) -> tuple[float, float, float]:
    """Mean RGB, 0..255, of the opaque pixels of a cut-out."""
    pixels = np.asarray(product.resize((48, 48), Image.Resampling.BOX), np.float32)  # the mean needs no detail
    r, g, b = pixels[pixels[..., 3] > 128][:, :3].mean(0) if (pixels[..., 3] > 128).any() else (127.0, 127.0, 127.0)
    return float(r), float(g), float(b)


@lru_cache(CACHED)
def _cut(size: tuple[int, int], data: bytes) -> Image.Image | None:
    rgb = Image.frombytes("RGB", size, data)
    if min(size) < 2 or not np.ptp(np.asarray(rgb.convert("L"))):
        return None
    cut = cut_out(rgb)
    if cut is None:
        return matte(rgb)
    return mended(cut, rgb) if pale(cut) > BITTEN else cut
