"""Untrusted bytes -> a normalised picture: upright, small, WebP, its alpha kept. And small previews of stored pictures.

Shared by the API and by imports; knows neither, and no store. `icg.pictures`, which imports no torch, decodes.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
from icg.errors import InputError, NoSuchFile
from icg.pictures import MAX_BYTES, decode, inside, over_white, read
from numpy.typing import NDArray
from PIL import Image

from eyecatch.core.catalog import Picture
from eyecatch.core.errors import InvalidInput, Violation

STORED_SIDE = 1024
QUALITY = 90
METHOD = 0
"""Of WebP's encoder. 4 takes three times as long for 0.6 dB less noise at the same size (600 x 900 pixels, 41.4 dB)."""
EARLIER_METHOD = 4
PREVIEW_QUALITY = 60

__all__ = [
    "MAX_BYTES",
    "QUALITY",
    "STORED_SIDE",
    "NoSuchPicture",
    "earlier_names",
    "file_inside",
    "normalise",
    "preview",
    "thumbnail",
]


class NoSuchPicture(InvalidInput):
    """A table names a picture that no file of the folder is, or an address, which is not fetched."""


def normalise(data: bytes, field: str) -> Picture:
    """Encoded bytes -> WebP of at most STORED_SIDE. Raises InvalidInput naming `field`, also for a picture without a visible pixel.

    Takes the first frame of an animation, applies the orientation of the metadata and drops the metadata. A picture with transparent
    pixels is stored without loss, because its alpha is its cut-out; as a cover it is shown over white.
    """
    picture, name = _decoded(data, field), _digest(b"file\n" + data)
    if picture.mode == "RGB":
        return Picture(_webp(picture, METHOD), *picture.size, names=(name, name))
    if picture.getchannel("A").getextrema()[1] == 0:
        raise InvalidInput.of(field, "a fully transparent picture", "a picture with something on it")
    whole, opaque = _both(picture, METHOD)
    return Picture(whole, *picture.size, opaque=opaque, names=(name, _digest(b"file over white\n" + data)))


def earlier_names(data: bytes, field: str) -> tuple[str, str]:
    """The names of both blobs in stores of before, where they were the digests of what was stored."""
    picture = _decoded(data, field)
    if picture.mode == "RGB":
        name = _digest(_webp(picture, EARLIER_METHOD))
        return name, name
    whole, opaque = _both(picture, EARLIER_METHOD)
    return _digest(whole), _digest(opaque)


def _decoded(data: bytes, field: str) -> Image.Image:
    try:
        return decode(data, field, "", longest=STORED_SIDE)
    except InputError as error:
        raise InvalidInput([Violation(field, error.value, error.allowed)]) from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _both(picture: Image.Image, method: int) -> tuple[bytes, bytes]:
    return _webp(picture, method, lossless=True, exact=True), _webp(over_white(picture), method)


def _webp(picture: Image.Image, method: int, **options: bool) -> bytes:
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=QUALITY, method=method, **options)
    return out.getvalue()


def file_inside(root: Path, text: str, field: str) -> bytes:
    """The bytes of a file below `root`. Raises InvalidInput naming `field` for absolute paths, paths outside and large files, and
    NoSuchPicture for addresses and for files that do not exist."""
    try:
        return read(inside(root, text, field), field)
    except NoSuchFile as error:
        raise NoSuchPicture([Violation(field, error.value, error.allowed)]) from error
    except InputError as error:
        raise InvalidInput([Violation(field, error.value, error.allowed)]) from error


def thumbnail(data: bytes, side: int) -> bytes:
    """A stored picture as a small WebP, at most `side` pixels wide and high."""
    with Image.open(io.BytesIO(data)) as image:
        small = over_white(image)
    small.thumbnail((side, side), Image.Resampling.BILINEAR)
    return _preview(small)


def preview(pixels: NDArray[np.uint8], side: int) -> bytes:
    """A picture (h, w, 3) of a few pixels as a small WebP, enlarged to `side` pixels wide or high, the size of a thumbnail."""
    height, width = pixels.shape[:2]
    size = (max(1, round(side * width / max(width, height))), max(1, round(side * height / max(width, height))))
    return _preview(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _preview(small: Image.Image) -> bytes:
    out = io.BytesIO()
    small.save(out, "WEBP", quality=PREVIEW_QUALITY, method=0)
    return out.getvalue()
