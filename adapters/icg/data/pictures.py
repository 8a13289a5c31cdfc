"""Files somebody else made -> RGB pictures, within limits of bytes, pixels and shape. Knows no item.

The limits are checked on the header, before a pixel is decoded.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from icg.errors import IcgError

MAX_BYTES = 10_000_000
MAX_PIXELS = 40_000_000
SIDES = (16, 16_384)
MAX_RATIO = 20
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError,
    MemoryError, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow's decoders raise on damaged files."""


def inside(folder: Path, text: str) -> Path:
    """The file that a table's cell names. Raises IcgError unless it is a file below `folder`: no addresses, no ways out."""
    if "://" in text or "\0" in text or Path(text).is_absolute():
        raise IcgError(f"picture={text[:200]!r}; allowed: a path relative to the pictures' folder")
    try:
        path = (folder / text).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        raise IcgError(f"picture={text[:200]!r}: no such file; allowed: a file in the pictures' folder") from None
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise IcgError(f"picture={text[:200]!r}; allowed: a file inside the pictures' folder")
    return path


def read(path: Path) -> bytes:
    """The bytes of a picture file; IcgError when it cannot be read or has more than MAX_BYTES."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise IcgError(f"picture={path.name!r}: {error.strerror}; allowed: a readable file") from error
    if len(data) > MAX_BYTES:
        raise IcgError(f"picture={path.name!r} of over {MAX_BYTES} bytes; allowed: at most that")
    return data


def decode(data: bytes, side: int) -> Image.Image:
    """RGB, upright, transparency on white; where the shorter edge is over twice `side` pixels, scaled down to twice that.

    Raises IcgError for what is damaged or outside the limits.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about what is refused here or does not matter
        try:
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        except DAMAGE as error:
            raise IcgError(f"picture: {type(error).__name__}; allowed: {', '.join(FORMATS)}") from error
        low, high = min(image.size), max(image.size)
        if low < SIDES[0] or high > SIDES[1] or high > MAX_RATIO * low or low * high > MAX_PIXELS:
            raise IcgError(
                f"picture of {image.width}x{image.height} pixels; allowed: edges of {SIDES[0]}..{SIDES[1]}, at most "
                f"{MAX_PIXELS} pixels and {MAX_RATIO}:1"
            )
        try:
            image.draft("RGB", (2 * side, 2 * side))  # a JPEG is decoded at a fraction of its size
            image.load()
            image = _rgb(ImageOps.exif_transpose(image))
        except DAMAGE as error:
            raise IcgError(f"picture damaged ({type(error).__name__}); allowed: a whole {image.format}") from error
    scale = 2 * side / min(image.size)
    if scale < 1:
        smaller = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(smaller, Image.Resampling.LANCZOS)
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):  # 16 bits a pixel, of which convert would keep the low ones
        image = Image.fromarray((np.asarray(image, np.float32) / 257).clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        above = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    return image.convert("RGB")
