"""Contact sheets: places of covers, and no room for absent words."""

from __future__ import annotations

from icg.contact_sheet import CAPTION, GAP, HEADER, LABEL, Cell, Row, contact_sheet
from PIL import Image

RED, BLUE = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 32), "blue")


def test_a_bare_sheet_is_its_covers_and_gaps() -> None:
    page = contact_sheet([Row("", "", [Cell(RED)] * 3), Row("", "", [Cell(BLUE)])], cell=64)
    assert page.size == (GAP + 3 * (64 + GAP), GAP + 2 * (64 + GAP))
    assert page.getpixel((GAP + 82 + 5, GAP + 5)) == (255, 0, 0)


def test_covers_keep_their_shape_in_the_middle_of_their_cell() -> None:
    page = contact_sheet([Row("", "", [Cell(BLUE)])], cell=64)
    assert page.getpixel((GAP + 32, GAP + 32)) == (0, 0, 255)
    assert page.getpixel((GAP + 32, GAP + 8)) != (0, 0, 255)


def test_labels_captions_and_headers_get_room() -> None:
    rows = [Row("mia", "likes red", [Cell(RED, "score +1", marked=True), Cell(None)])]
    page = contact_sheet(rows, ["a", "b"], "Eyecatch", "covers", cell=64)
    assert page.width == GAP + LABEL + 2 * (64 + GAP)
    assert page.height == GAP + GAP + 58 + HEADER + 64 + GAP + CAPTION
