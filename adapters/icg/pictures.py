"""Untrusted bytes -> pictures: the only place in the library that decodes foreign files. Knows no item; numpy and PIL only.

Limits on bytes, pixels and shape are checked on the header, before a pixel is decoded. `split` and `text` parse requests in which texts
and pictures are concatenated, with their lengths.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from PIL import Image

from icg.errors import BriefError, InputError, NoSuchFile
from icg.picture_modes import over_white, scale_key, upright, with_mode

__all__ = ["FORMATS", "MAX_BYTES", "MAX_PIXELS", "decode", "inside", "over_white", "read", "split", "text"]

MAX_BYTES = 10_000_000
MAX_PIXELS = 40_000_000
MIN_SIDE, MAX_SIDE = 16, 16_384
MAX_RATIO = 20
Image.init()
FORMATS = tuple(name for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF", "HEIF") if name in Image.OPEN)
"""AVIF if Pillow was built with it, HEIF if a plugin is registered."""
OTHERS = {b"II*\0": "TIFF", b"MM\0*": "TIFF", b"<svg": "SVG", b"<?xml": "SVG or other XML", b"%PDF": "PDF"}
OTHERS |= {
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"8BPS": "Photoshop",
    b"<!DOC": "HTML",
    b"<html": "HTML",
}
REDUCING_GAP = 3.0
"""Pillow first averages whole blocks if the scale is above this: no visible difference, less time."""
DAMAGE: tuple[type[Exception], ...] = (OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError)
DAMAGE += (AttributeError, ArithmeticError, RuntimeError, MemoryError, Image.DecompressionBombError)
"""Errors of Pillow's decoders for damaged files; MemoryError for a header with a wrong size of a chunk."""


def decode(
    data: bytes, name: str = "picture", mode: str = "RGB", shortest: int | None = None, longest: int | None = None
) -> Image.Image:
    """The picture in `data`, upright: RGB with transparency on white, or RGBA. Of an animation the first frame.

    mode "": RGBA for a picture with transparent pixels, RGB for any other.

    A picture whose shorter edge is above `shortest` pixels, or whose longer edge is above `longest`, is scaled down to it. Raises
    InputError, which names `name`, for bytes that are damaged, too many or outside the limits.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about pictures that are refused here, or about bad EXIF
        image = _opened(data, name)
        kind = image.format
        try:
            scale_key(image)
            size = _size(image.size, shortest, longest)
            image.draft("RGB", size)  # a JPEG is decoded at a fraction of its size; other formats ignore it
            image.load()
            if image.mode in ("RGB", "L", "RGBA") and "transparency" not in image.info:
                image = _scaled(image, shortest, longest)  # before a copy of a large picture is made
            return _scaled(with_mode(upright(image), mode), shortest, longest)
        except DAMAGE as error:
            value = f"a damaged {kind} picture ({type(error).__name__})"
            raise InputError(name, value, "a complete picture") from error


def dimensions(data: bytes, name: str = "picture") -> tuple[int, int]:
    """Width and height in pixels by the header alone. Raises InputError for bytes that `decode` refuses by theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _opened(data, name).size


def _opened(data: bytes, name: str) -> Image.Image:
    if len(data) > MAX_BYTES:
        raise InputError(name, f"{len(data)} bytes", f"at most {MAX_BYTES}")
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(name, "a picture of too many pixels", f"at most {MAX_PIXELS} pixels") from error
    except DAMAGE as error:
        value = _foreign(data) or f"{len(data)} bytes that are not such a picture"
        raise InputError(name, value, f"a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} picture") from error
    _check_size(name, *image.size)
    return image


def squared(image: Image.Image, side: int) -> Image.Image:
    """What networks read: RGB of side x side, whatever the picture's aspect; alpha is dropped."""
    return image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)


def inside(folder: Path, text: str, name: str = "picture") -> Path:
    """The file below `folder` that a table's cell names. Raises InputError for an absolute path or a way out, and NoSuchFile for an
    address, which is not fetched, and for a file that does not exist."""
    value, allowed = repr(text[:200]), "the relative path of a file inside the pictures' folder"
    refused = InputError(name, value, allowed)
    if text.startswith(("data:", "//")) or "://" in text:
        raise NoSuchFile(name, f"{value}, an address, which is not fetched", allowed)
    if "\0" in text or Path(text).is_absolute():
        raise refused
    try:
        path = (folder / text).resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError):
        if not Path(os.path.normpath(folder.resolve() / text)).is_relative_to(folder.resolve()):
            raise refused from None
        raise NoSuchFile(name, f"{value}, no such file in {str(folder)!r}", allowed) from None
    except (OSError, RuntimeError, ValueError):
        raise refused from None
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise refused
    return path


def read(path: Path, name: str = "picture") -> bytes:
    """The bytes of a picture file; InputError if it cannot be read or has more than MAX_BYTES."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(name, f"{path.name!r}: {error.strerror}", "a readable file") from error
    if len(data) > MAX_BYTES:
        raise InputError(name, f"{path.name!r} of over {MAX_BYTES} bytes", f"at most {MAX_BYTES} bytes")
    return data


def split(data: bytes, lengths: Sequence[int], name: str, lengths_name: str) -> list[bytes]:
    """`data` in pieces of `lengths`; the names are of the two fields. Raises BriefError if the lengths do not add up."""
    if min(lengths, default=1) < 1 or sum(lengths) != len(data):
        raise BriefError(
            f"{lengths_name}={list(lengths)[:9]} for {len(data)} bytes of {name}; "
            "allowed: each above 0, together the bytes"
        )
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + length)
    return [data[start:end] for start, end in pairwise(ends)]


def text(data: bytes, name: str) -> str:
    """Raises BriefError for bytes that are not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BriefError(f"{name} of {len(data)} bytes; allowed: UTF-8 ({error.reason})") from error


def _foreign(data: bytes) -> str:
    """What pictures of other formats are called, "" for unknown bytes."""
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("latin-1").strip()
        return f"a {'HEIC' if brand[:2] in ('he', 'mi', 'ms') else repr(brand)} file"
    return next((f"a {name} file" for start, name in OTHERS.items() if data.lstrip()[: len(start)] == start), "")


def _check_size(name: str, width: int, height: int) -> None:
    size, low, high = f"{width}x{height} pixels", min(width, height), max(width, height)
    if low < MIN_SIDE or high > MAX_SIDE:
        raise InputError(name, size, f"sides of {MIN_SIDE} to {MAX_SIDE} pixels")
    if width * height > MAX_PIXELS:
        raise InputError(name, size, f"at most {MAX_PIXELS} pixels")
    if high > MAX_RATIO * low:
        raise InputError(name, size, f"an aspect ratio of at most {MAX_RATIO}:1")


def _size(size: tuple[int, int], shortest: int | None, longest: int | None) -> tuple[int, int]:
    scales = [limit / edge for limit, edge in ((shortest, min(size)), (longest, max(size))) if limit is not None]
    scale = min([1.0, *scales])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _scaled(image: Image.Image, shortest: int | None, longest: int | None) -> Image.Image:
    size = _size(image.size, shortest, longest)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
