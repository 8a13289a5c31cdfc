"""Texts and pictures that came as one run of bytes with their lengths: taken apart, or refused by name."""

import io

import numpy as np
import pytest
from icg import pictures as encoded
from icg.errors import BriefError
from PIL import Image


def png(mode: str = "RGBA", size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, (200, 10, 30, 0) if mode == "RGBA" else 0).save(out, "PNG")
    return out.getvalue()


def test_pieces_come_back_as_they_were_put_in() -> None:
    pieces = [b"a", "blåbær".encode(), png()]
    assert encoded.split(b"".join(pieces), [len(p) for p in pieces], "titles", "title_lengths") == pieces
    assert encoded.split(b"", [], "titles", "title_lengths") == []


@pytest.mark.parametrize("lengths", [[3], [1, 4, 1], [5, 0], [6, -1], []])
def test_lengths_that_do_not_add_up_are_named(lengths: list[int]) -> None:
    with pytest.raises(BriefError, match=r"title_lengths=\[.*\] for 5 bytes of titles; allowed: each above 0"):
        encoded.split(b"abcde", lengths, "titles", "title_lengths")


def test_text_is_utf8() -> None:
    assert encoded.text("søt".encode(), "titles[2]") == "søt"
    with pytest.raises(BriefError, match=r"titles\[2\] of 2 bytes; allowed: UTF-8 \(invalid start byte\)"):
        encoded.text(b"\xff\xfe", "titles[2]")


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "P", "1", "I;16"])
def test_every_picture_is_rgb(mode: str) -> None:
    found = encoded.picture(png(mode), "references[0]")
    assert (found.mode, found.size) == ("RGB", (40, 30))
    if mode == "RGBA":
        assert np.asarray(found)[0, 0].tolist() == [200, 10, 30]


def test_a_cut_out_keeps_its_alpha() -> None:
    found = encoded.picture(png(), "product", "RGBA")
    assert (found.mode, found.getpixel((0, 0))) == ("RGBA", (200, 10, 30, 0))
    assert encoded.picture(png("RGB"), "product", "RGBA").getchannel("A").getextrema() == (255, 255)


def test_a_damaged_or_foreign_picture_is_named() -> None:
    whole = png()
    gif = io.BytesIO()
    Image.new("P", (9, 9)).save(gif, "GIF")
    for data in (b"", b"no picture", whole[: len(whole) // 2], gif.getvalue()):
        with pytest.raises(
            BriefError, match=rf"references\[1\] of {len(data)} bytes cannot be decoded; allowed: whole"
        ):
            encoded.picture(data, "references[1]")


def test_a_picture_too_large_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "MAX_PIXELS", 40 * 30 - 1)
    with pytest.raises(BriefError, match=r"references\[0\] of 40 x 30; allowed: at most 1199 pixels"):
        encoded.picture(png(), "references[0]")
