"""Hostile bytes become upright RGB pictures or an error by name; concatenated texts and pictures are split."""

import io
from pathlib import Path

import numpy as np
import pytest
from icg import pictures
from icg.errors import BriefError, InputError
from PIL import Image


def png(mode: str = "RGBA", size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, (200, 10, 30, 0) if mode == "RGBA" else 0).save(out, "PNG")
    return out.getvalue()


def test_pieces_come_back_as_they_were_put_in() -> None:
    pieces = [b"a", "blåbær".encode(), png()]
    assert pictures.split(b"".join(pieces), [len(p) for p in pieces], "titles", "title_lengths") == pieces
    assert pictures.split(b"", [], "titles", "title_lengths") == []


@pytest.mark.parametrize("lengths", [[3], [1, 4, 1], [5, 0], [6, -1], []])
def test_lengths_that_do_not_add_up_are_named(lengths: list[int]) -> None:
    with pytest.raises(BriefError, match=r"title_lengths=\[.*\] for 5 bytes of titles; allowed: each above 0"):
        pictures.split(b"abcde", lengths, "titles", "title_lengths")


def test_text_is_utf8() -> None:
    assert pictures.text("søt".encode(), "titles[2]") == "søt"
    with pytest.raises(BriefError, match=r"titles\[2\] of 2 bytes; allowed: UTF-8 \(invalid start byte\)"):
        pictures.text(b"\xff\xfe", "titles[2]")


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "P", "1", "I;16"])
def test_every_picture_is_rgb(mode: str) -> None:
    picture = pictures.decode(png(mode), "references[0]")
    assert (picture.mode, picture.size) == ("RGB", (40, 30))
    if mode == "RGBA":
        assert picture.getpixel((0, 0)) == (255, 255, 255)


def test_a_cut_out_keeps_its_alpha() -> None:
    picture = pictures.decode(png(), "product", "RGBA")
    assert (picture.mode, picture.getpixel((0, 0))) == ("RGBA", (200, 10, 30, 0))
    assert pictures.decode(png("RGB"), "product", "RGBA").getchannel("A").getextrema() == (255, 255)


def encoded(image: Image.Image, kind: str = "PNG", **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def test_pictures_are_upright_and_no_larger_than_needed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = encoded(Image.new("RGB", (400, 200)), "JPEG", exif=exif)
    assert pictures.decode(wide, shortest=100).size == (100, 200)
    assert pictures.decode(wide, longest=100).size == (50, 100)
    assert pictures.decode(wide, shortest=300, longest=500).size == (200, 400)


def test_sixteen_bits_a_pixel_keep_their_brightness() -> None:
    deep = Image.fromarray(np.full((20, 20), 40_000, np.uint16))
    assert pictures.decode(encoded(deep)).getpixel((0, 0)) == (155, 155, 155)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pictures.decode(data).getpixel((9, 9)) == (255, 0, 0)


def test_damaged_and_foreign_pictures_are_refused_by_name() -> None:
    whole = encoded(Image.effect_noise((64, 64), 90))
    foreign = encoded(Image.new("RGB", (40, 30)), "TIFF")
    for data in (
        b"",
        b"no picture",
        b"GIF89a",
        whole[: len(whole) // 2],
        whole[:60] + bytes(40) + whole[100:],
        foreign,
    ):
        with pytest.raises(InputError, match=r"references\[1\]=.*; allowed: a") as refused:
            pictures.decode(data, "references[1]")
        assert refused.value.name == "references[1]"


@pytest.mark.parametrize(
    ("size", "allowed"),
    [((8, 64), "sides of 16"), ((1000, 40), "an aspect ratio"), ((7000, 6000), "at most 40000000 pixels")],
)
def test_pictures_outside_the_limits_are_refused(size: tuple[int, int], allowed: str) -> None:
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]} pixels; allowed: {allowed}"):
        pictures.decode(encoded(Image.new("1", size)))


def test_too_many_bytes_are_refused_before_anything_is_read() -> None:
    with pytest.raises(InputError, match="at most 10000000"):
        pictures.decode(bytes(pictures.MAX_BYTES + 1))


def test_a_path_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png())
    (tmp_path / "b.png").write_bytes(png())
    assert pictures.read(pictures.inside(tmp_path / "in", "a.png")) == png()
    for text in ("../b.png", str(tmp_path / "b.png"), "http://a/b.png", "missing.png", "a\0.png", ""):
        with pytest.raises(InputError, match="allowed: the relative path of a file inside"):
            pictures.inside(tmp_path / "in", text)
