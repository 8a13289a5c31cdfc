"""Pixels of any mode in sRGB, upright: key colours, profiles, metadata that means nothing, soft rims."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from icg import pictures
from icg.errors import InputError
from PIL import Image, ImageCms

SIDE = 16


def png(bits: int, colour: int, rows: list[bytes], key: bytes) -> bytes:
    """A PNG of SIDE x SIDE pixels with a key colour, as the specification writes it (section 11.3.2.1)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"tRNS", key) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def gray(bits: int, value: int, other: int, key: int) -> bytes:
    """The left half has the one value, the right half the other one."""
    values = [value] * (SIDE // 2) + [other] * (SIDE // 2)
    row = "".join(f"{v:0{bits}b}" for v in values)
    packed = bytes(int(row[n : n + 8], 2) for n in range(0, len(row), 8))
    return png(bits, 0, [packed] * SIDE, struct.pack(">H", key))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("low", [True, False])
def test_the_key_colour_of_gray_is_transparent(bits: int, low: bool) -> None:
    most = (1 << bits) - 1
    value, other = (0, most) if low else (most, 0)
    half = pictures.decode(gray(bits, value, other, value), mode="")
    assert half.mode == "RGBA"
    assert half.getpixel((0, 0))[3] == 0  # type: ignore[index]
    shown = 255 if other else 0
    assert half.getpixel((SIDE - 1, 0)) == (shown, shown, shown, 255)
    over = pictures.decode(gray(bits, value, other, value))
    assert [over.getpixel((x, 0)) for x in (0, SIDE - 1)] == [(255, 255, 255), (shown, shown, shown)]


@pytest.mark.parametrize(("bits", "key"), [(1, 0), (1, 1), (2, 1), (2, 2), (4, 5), (8, 55), (16, 5000)])
def test_gray_that_is_all_key_colour_is_white(bits: int, key: int) -> None:
    for mode in ("", "RGB"):
        assert pictures.decode(gray(bits, key, key, key), mode=mode).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_a_neighbour_of_the_key_colour_stays(bits: int) -> None:
    picture = pictures.decode(gray(bits, 1, 2, 1), mode="")
    assert [picture.getpixel((x, 0))[3] for x in (0, SIDE - 1)] == [0, 255]  # type: ignore[index]


@pytest.mark.parametrize("bits", [8, 16])
def test_the_key_colour_of_colours_is_transparent(bits: int) -> None:
    kind = ">BBB" if bits == 8 else ">HHH"
    one, other = ((200, 10, 30), (0, 0, 255)) if bits == 8 else ((51456, 2570, 7700), (0, 0, 65535))
    row = struct.pack(kind, *one) * (SIDE // 2) + struct.pack(kind, *other) * (SIDE // 2)
    picture = pictures.decode(png(bits, 2, [row] * SIDE, struct.pack(">HHH", *one)), mode="")
    assert picture.getpixel((0, 0))[3] == 0  # type: ignore[index]
    assert picture.getpixel((SIDE - 1, 0)) == (0, 0, 255, 255)


def encoded(image: Image.Image, kind: str = "PNG", **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0" + b"\xff" * 60, b"nonsense"]
)
def test_damaged_metadata_leaves_the_pixels_whole(exif: bytes) -> None:
    assert pictures.decode(encoded(Image.new("RGB", (40, 30), "red"), "JPEG", exif=exif)).size == (40, 30)


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (40, 30)), (3, (40, 30)), (6, (30, 40)), (8, (30, 40)), (9, (40, 30)), (0, (40, 30))]
)
def test_the_orientation_is_applied_beside_nonsense(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = exif.tobytes() + b"\xff" * 40
    assert pictures.decode(encoded(Image.new("RGB", (40, 30)), "JPEG", exif=data)).size == size


def test_colours_of_another_profile_become_srgb() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red = Image.new("RGB", (40, 30), (200, 20, 20))
    for unusable in (b"no profile", profile, srgb):
        assert pictures.decode(encoded(red, icc_profile=unusable)).getpixel((9, 9)) == (200, 20, 20)


def gamma_profile(gamma: float) -> bytes:
    """sRGB with another curve: a minimal profile of version 2."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    for n in range(count):
        name, offset, _ = struct.unpack(">4sII", data[132 + 12 * n : 144 + 12 * n])
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + 14] = b"para\0\0\0\0\0\0\0\0" + b"\0\0"
            data[offset + 12 : offset + 16] = struct.pack(">i", round(gamma * 65536))
        if name == b"desc":
            place = data.find(bytes("sRGB", "utf-16-be"), offset)
            data[place : place + 8] = bytes("test", "utf-16-be")
    return bytes(data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_curve_of_a_profile_is_applied(mode: str) -> None:
    picture = Image.new(mode, (40, 30), (128, 128, 128, 255)[: len(mode)])
    shown = pictures.decode(encoded(picture, icc_profile=gamma_profile(1.0))).getpixel((9, 9))
    assert all(abs(band - 188) <= 2 for band in shown)  # type: ignore[union-attr]


@pytest.mark.parametrize("alpha", [0, 1, 64, 128, 254, 255])
def test_soft_rims_add_light_and_not_its_code(alpha: int) -> None:
    picture = pictures.over_white(Image.new("RGBA", (20, 20), (0, 0, 0, alpha)))
    light = 1 - alpha / 255
    code = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    assert picture.getpixel((3, 3)) == pytest.approx((255 * code,) * 3, abs=1)


@pytest.mark.skipif("AVIF" not in pictures.FORMATS, reason="Pillow was built without AVIF")
def test_avif_is_read() -> None:
    shown = np.asarray(pictures.decode(encoded(Image.new("RGB", (40, 30), "blue"), "AVIF")), int)
    assert np.abs(shown - [0, 0, 255]).max() < 12


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "a HEIC file"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(99), "a HEIC file"),
        (b"\0\0\0\x18ftypmp42" + bytes(99), "a 'mp42' file"),
        (b"II*\0" + bytes(99), "a TIFF file"),
        (b"  <svg xmlns=''/>", "a SVG file"),
        (b"<!DOCTYPE html><title>404</title>", "a HTML file"),
    ],
)
@pytest.mark.skipif("HEIF" in pictures.FORMATS, reason="a plugin of Pillow reads HEIF here")
def test_other_formats_are_refused_by_their_name(data: bytes, name: str) -> None:
    with pytest.raises(InputError, match=f"picture={name}; allowed: a PNG, .* picture"):
        pictures.decode(data)
