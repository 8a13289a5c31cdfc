"""What a brief is made of, as bytes from elsewhere: texts and pictures end to end with their lengths. Knows no server."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise

from PIL import Image

from icg.brief import MAX_PIXELS
from icg.data.pictures import DAMAGE
from icg.errors import BriefError

FORMATS = ("PNG", "JPEG", "WEBP")


def split(data: bytes, lengths: Sequence[int], name: str, each: str) -> list[bytes]:
    """`data`, which came as `name`, in pieces of `lengths`, which came as `each`. Raises BriefError where they do not add up."""
    if min(lengths, default=1) < 1 or sum(lengths) != len(data):
        raise BriefError(
            f"{each}={list(lengths)[:9]} for {len(data)} bytes of {name}; allowed: each above 0, together the bytes"
        )
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + length)
    return [data[start:end] for start, end in pairwise(ends)]


def text(data: bytes, name: str) -> str:
    """Raises BriefError for what is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BriefError(f"{name} of {len(data)} bytes; allowed: UTF-8 ({error.reason})") from error


def picture(data: bytes, name: str, mode: str = "RGB") -> Image.Image:
    """RGB, its transparency dropped, or RGBA. Raises BriefError for one that is too large or damaged."""
    try:
        found = Image.open(io.BytesIO(data), formats=FORMATS)
        if found.width * found.height <= MAX_PIXELS:
            return found.convert(mode)
    except DAMAGE as error:
        raise BriefError(f"{name} of {len(data)} bytes cannot be decoded; allowed: whole PNG, JPEG or WebP") from error
    raise BriefError(f"{name} of {found.width} x {found.height}; allowed: at most {MAX_PIXELS} pixels")
