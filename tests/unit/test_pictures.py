"""Hostile pictures: what is accepted comes out small, upright and RGB; the rest is refused by name, without a crash."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.pictures import MAX_BYTES, STORED_SIDE, normalise
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def decoded(data: bytes) -> Image.Image:
    """What a catalogue cover shows of it."""
    picture = normalise(data, "image")
    image = Image.open(io.BytesIO(picture.cover))
    assert (image.format, image.mode, image.size) == ("WEBP", "RGB", (picture.width, picture.height))
    return image


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, 128 + 0 * x], -1).astype(np.uint8))


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG whose header claims any size, however little follows."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_the_usual_formats_keep_their_size_and_colours(kind: str) -> None:
    picture = np.asarray(decoded(encoded(gradient(), kind)), np.float32)
    assert picture.shape == (48, 64, 3)
    assert np.abs(picture - np.asarray(gradient(), np.float32)).mean() < 8


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    grey = gradient().convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    else:
        image = grey.convert(mode) if mode in ("1", "L", "LA") else gradient().convert(mode)
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    out = np.asarray(decoded(encoded(image, kind)), np.float32)
    assert out[:, -8:].mean() > out[:, :8].mean() + 40
    assert out.max() <= 255


def test_what_is_transparent_becomes_white() -> None:
    image = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 16, 32))
    out = np.asarray(decoded(encoded(image)), int)
    assert np.abs(out[16, 28] - [255, 255, 255]).max() < 12
    assert np.abs(out[16, 4] - [0, 0, 255]).max() < 40
    palette = Image.new("P", (32, 32), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(1, (20, 20, 30, 30))
    assert decoded(encoded(palette, "GIF", transparency=0)).getpixel((9, 9)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_alpha_is_stored_without_loss(mode: str) -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    image = gradient()
    image.putalpha(Image.fromarray(ramp))
    if mode == "P":
        image = gradient().quantize(16)
        data = encoded(image, transparency=3)
    else:
        image = image.convert(mode)
        data = encoded(image)
    picture = normalise(data, "image")
    out = Image.open(io.BytesIO(picture.data))
    assert out.mode == "RGBA"
    assert out.tobytes() == Image.open(io.BytesIO(data)).convert("RGBA").tobytes()
    assert Image.open(io.BytesIO(picture.cover)).mode == "RGB"


def test_an_opaque_alpha_is_no_alpha() -> None:
    picture = normalise(encoded(gradient().convert("RGBA")), "image")
    assert (Image.open(io.BytesIO(picture.data)).mode, picture.opaque, picture.cover) == ("RGB", b"", picture.data)


def test_a_picture_with_nothing_on_it_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"fully transparent picture.; allowed: a picture with something"):
        normalise(encoded(Image.new("RGBA", (32, 32), (9, 9, 9, 0))), "image")


def test_the_orientation_is_applied_and_metadata_dropped() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "private words"
    data = encoded(gradient(), "JPEG", exif=exif)
    assert b"private words" in data
    out = normalise(data, "image")
    assert (out.width, out.height) == (48, 64)
    assert b"private words" not in out.data


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        out = decoded(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert np.abs(np.asarray(out.getpixel((9, 9))) - [255, 0, 0]).max() < 12


@pytest.mark.parametrize(
    ("size", "saved"), [((2000, 1000), (1024, 512)), ((600, 6000), (102, 1024)), ((100, 100), (100, 100))]
)
def test_large_pictures_shrink_and_small_ones_stay(size: tuple[int, int], saved: tuple[int, int]) -> None:
    assert decoded(encoded(gradient(*size))).size == saved
    assert max(saved) <= STORED_SIDE


@pytest.mark.parametrize(
    ("data", "allowed"),
    [
        (b"", "a PNG"),
        (b"hello", "a PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a PNG"),
        (encoded(gradient(), "TIFF"), "a PNG"),
        (encoded(gradient(), "PPM"), "a PNG"),
        (b"x" * (MAX_BYTES + 1), f"at most {MAX_BYTES}"),
        (encoded(gradient(15, 64)), "sides of 16"),
        (png(0, 0), "a PNG|sides of 16"),
        (png(30_000, 1), "sides of 16"),
        (png(30_000, 30_000), "at most 40000000 pixels"),
        (png(16_000, 16_000), "at most 40000000 pixels"),
        (png(1600, 16), "aspect ratio"),
        (png(100, 100), "a complete picture"),
        (half(encoded(gradient(), "PNG")), "a complete picture"),
        (half(encoded(gradient(300, 300), "JPEG")), "a complete picture"),
        (half(encoded(gradient(), "WEBP")), "a complete picture|a PNG"),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else value,
)
def test_everything_else_is_refused_with_what_is_allowed(data: bytes, allowed: str) -> None:
    with pytest.raises(InvalidInput, match=allowed) as refused:
        normalise(data, "items[3].references[1]")
    assert refused.value.violations[0].field == "items[3].references[1]"


_SEEDS = [encoded(gradient(), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP")]
_SEEDS.append(encoded(gradient().convert("P"), "PNG", transparency=3))


@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from(_SEEDS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), min_size=1, max_size=6),
    cut=st.floats(0.2, 1.0),
)
def test_no_bytes_crash_it(seed: bytes, edits: list[tuple[float, bytes]], cut: float) -> None:
    data = bytearray(seed)
    for place, patch in edits:
        at = int(place * len(data))
        data[at : at + len(patch)] = patch
    try:
        picture = normalise(bytes(data[: int(cut * len(data))]), "image")
    except InvalidInput:
        return
    assert 1 <= picture.width <= STORED_SIDE
    assert 1 <= picture.height <= STORED_SIDE
