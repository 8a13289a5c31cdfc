"""Hostile bytes -> a picture we keep: checked by its header before a pixel is decoded, then RGB, upright, small, WebP.

Shared by the API and by imports; knows neither, nor where pictures are stored.
"""

import io
import warnings
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from eyecatch.core.errors import InvalidInput, Violation

MAX_BYTES = 10 * 1000 * 1000
MAX_PIXELS = 40_000_000
MIN_SIDE = 16
MAX_SIDE = 16_384
MAX_ASPECT = 20
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
STORED_SIDE = 512
QUALITY = 90
PREVIEW_QUALITY = 60

# What Pillow's decoders raise on damaged files; MemoryError from a header that lies about a chunk's size.
_DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, AttributeError, OverflowError,
    ZeroDivisionError, RuntimeError, MemoryError, UnidentifiedImageError, Image.DecompressionBombError,
)  # fmt: skip


def normalise(data: bytes, field: str) -> tuple[bytes, tuple[int, int]]:
    """Encoded bytes -> (WebP bytes, (width, height)) of at most STORED_SIDE. Raises InvalidInput naming `field`.

    An animation gives its first frame, transparency becomes white, the orientation in the metadata is applied and
    the metadata itself is dropped.
    """
    if len(data) > MAX_BYTES:
        _refuse(field, f"{len(data)} bytes", f"at most {MAX_BYTES}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about what is refused here or does not matter (bad EXIF)
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError:
            _refuse(field, "a picture of too many pixels", f"at most {MAX_PIXELS} pixels")
        except _DAMAGE:
            _refuse(field, f"{len(data)} bytes that are no such picture", "a PNG, JPEG, WebP, GIF or BMP picture")
        _check_size(field, *image.size)
        try:
            image.draft("RGB", (STORED_SIDE, STORED_SIDE))  # a JPEG decodes at a fraction of its size; others ignore it
            image.load()
            if image.mode in ("RGB", "L", "RGBA", "CMYK") and "transparency" not in image.info:
                _shrink(image)  # before any copy is made of a large picture
            picture = _flatten(ImageOps.exif_transpose(image))
            _shrink(picture)
            out = io.BytesIO()
            picture.save(out, "WEBP", quality=QUALITY, method=4)
        except _DAMAGE as error:
            _refuse(field, f"a damaged {image.format} picture ({type(error).__name__})", "a complete picture")
    return out.getvalue(), picture.size


def thumbnail(data: bytes, side: int) -> bytes:
    """A picture of our own as a small WebP, at most `side` pixels wide and high."""
    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.BILINEAR)
    return _preview(small)


def preview(pixels: NDArray[np.uint8], side: int) -> bytes:
    """A picture (h, w, 3) of a few pixels as a small WebP, `side` pixels wide or high: as large as the thumbnail that follows it."""
    height, width = pixels.shape[:2]
    size = (max(1, round(side * width / max(width, height))), max(1, round(side * height / max(width, height))))
    return _preview(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _preview(small: Image.Image) -> bytes:
    out = io.BytesIO()
    small.save(out, "WEBP", quality=PREVIEW_QUALITY, method=0)
    return out.getvalue()


def _check_size(field: str, width: int, height: int) -> None:
    size = f"{width}x{height} pixels"
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        _refuse(field, size, f"sides of {MIN_SIDE} to {MAX_SIDE} pixels")
    if width * height > MAX_PIXELS:
        _refuse(field, size, f"at most {MAX_PIXELS} pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        _refuse(field, size, f"an aspect ratio of at most {MAX_ASPECT}:1")


def _shrink(image: Image.Image) -> None:
    image.thumbnail((STORED_SIDE, STORED_SIDE), Image.Resampling.LANCZOS)


def _flatten(image: Image.Image) -> Image.Image:
    """Any mode -> RGB; what was transparent is white."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        # 16 bits a pixel: keep the high byte (convert would clip everything bright to white).
        image = Image.fromarray((np.asarray(image, np.float32) / 257).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _refuse(field: str, value: str, allowed: str) -> NoReturn:
    raise InvalidInput([Violation(field, value, allowed)])
