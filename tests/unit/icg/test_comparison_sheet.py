"""Comparison sheets: places of covers, the frame around the choice, texts inside their columns."""

from __future__ import annotations

from icg.comparison_sheet import (
    CELL,
    COLUMN_NAMES,
    FRAME,
    FRAME_GAP,
    GAP,
    HEADER,
    MARGIN,
    PANEL,
    ROW_LABEL,
    STACK,
    Choice,
    UserBlock,
    comparison_sheet,
)
from icg.typesetting import ACCENT, PAPER
from PIL import Image, ImageColor

OLD, NEW, LIKED = (Image.new("RGB", (64, 64), colour) for colour in ("blue", "red", "lime"))
LEFT, TOP = MARGIN + PANEL + ROW_LABEL, MARGIN + HEADER + COLUMN_NAMES
LONG = "closer to what this user likes " * 12


def sheet(*choices: Choice, text: str = "word") -> Image.Image:
    block = UserBlock(text, text, [LIKED, LIKED], ("old", "new"), text, text, choices)
    return comparison_sheet([block], [text] * len(choices), "title", text)


def framed(page: Image.Image, column: int, row: int) -> bool:
    x, y = LEFT + column * (CELL + GAP) + CELL // 2, TOP + row * (CELL + STACK) - FRAME_GAP - FRAME // 2
    return page.getpixel((x, y)) == ImageColor.getrgb(ACCENT)


def test_the_old_cover_is_above_the_new_one() -> None:
    page = sheet(Choice(OLD, NEW, False, "old", "why"))
    assert page.getpixel((LEFT + CELL // 2, TOP + CELL // 2)) == (0, 0, 255)
    assert page.getpixel((LEFT + CELL // 2, TOP + CELL + STACK + CELL // 2)) == (255, 0, 0)


def test_the_frame_is_around_what_the_user_gets() -> None:
    page = sheet(Choice(OLD, NEW, False, "old", "why"), Choice(OLD, NEW, True, "new", "why"))
    assert [framed(page, 0, 0), framed(page, 0, 1), framed(page, 1, 0), framed(page, 1, 1)] == [
        True,
        False,
        False,
        True,
    ]


def test_no_new_cover_leaves_an_empty_square() -> None:
    page = sheet(Choice(OLD, None, False, "none", ""))
    assert len(page.crop((LEFT + 20, TOP + CELL + STACK + 20, LEFT + 200, TOP + CELL + STACK + 200)).getcolors()) == 1


def test_long_texts_stay_in_their_columns() -> None:
    page = sheet(*[Choice(OLD, NEW, True, LONG, LONG)] * 2, text=LONG)
    paper = ImageColor.getrgb(PAPER)
    below = TOP + 2 * CELL + STACK + 2 * (FRAME + FRAME_GAP)
    for strip in (
        (LEFT + CELL + 4, below, LEFT + CELL + GAP - 4, page.height),  # between the columns
        (LEFT + 2 * CELL + GAP + FRAME + FRAME_GAP + 1, 0, page.width, page.height),  # the right margin
        (0, 0, MARGIN - 1, page.height),
        (MARGIN + PANEL, TOP, MARGIN + PANEL + 8, page.height),  # between the panel and the names of the rows
        (0, page.height - MARGIN // 2, page.width, page.height),
    ):
        assert page.crop(strip).getcolors() == [((strip[2] - strip[0]) * (strip[3] - strip[1]), paper)], strip


def test_a_sheet_of_three_users_and_four_items_fits_a_screen() -> None:
    block = UserBlock("mia", "candy", [], ("old", "new"), "1 of 4", "win", [Choice(OLD, NEW, True, "new", "why")] * 4)
    assert comparison_sheet([block] * 3, ["item"] * 4, "title", "words").width <= 2400
