"""Typesetting: lines that fit, ellipses, round corners."""

from __future__ import annotations

from icg.typesetting import fit, font, rounded, scaled
from PIL import Image, ImageDraw

DRAW = ImageDraw.Draw(Image.new("RGB", (8, 8)))


def test_lines_are_no_wider_than_asked_and_lose_no_word_that_has_room() -> None:
    lines = fit(DRAW, "closer to what mia likes, looks better", 16, 150, 3).split("\n")
    assert " ".join(lines) == "closer to what mia likes, looks better"
    assert 1 < len(lines) <= 3
    assert all(DRAW.textlength(line, font=font(16)) <= 150 for line in lines)


def test_what_has_no_room_becomes_an_ellipsis() -> None:
    lines = fit(DRAW, "closer to what mia likes, looks better", 16, 80, 2).split("\n")
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert all(DRAW.textlength(line, font=font(16)) <= 80 for line in lines)


def test_a_word_wider_than_the_line_keeps_its_beginning() -> None:
    text = fit(DRAW, "a-very-long-user-name-0815", 16, 100, 1)
    assert text.startswith("a-very")
    assert text.endswith("…")


def test_scaled_pictures_keep_their_shape() -> None:
    assert scaled(Image.new("L", (64, 32)), 100).size == (100, 50)
    assert scaled(Image.new("L", (64, 32)), 100).mode == "RGB"


def test_masks_have_round_corners_and_borders_are_empty_inside() -> None:
    full, border = rounded((40, 40), 10), rounded((40, 40), 10, line=4)
    assert (full.getpixel((0, 0)), full.getpixel((20, 20)), full.getpixel((20, 2))) == (0, 255, 255)
    assert (border.getpixel((0, 0)), border.getpixel((20, 20)), border.getpixel((20, 2))) == (0, 0, 255)
