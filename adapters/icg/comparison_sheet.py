"""Comparison sheets: for each user what they like, and for each item an old cover over a new one, the choice, and its reason.

Knows only images and words; PIL alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from icg.typesetting import ACCENT, EMPTY, FAINT, INK, LINE, MUTED, PAPER, fit, rounded, scaled, write

CELL, GAP, STACK, MARGIN = 256, 32, 20, 64
PANEL, ROW_LABEL = 280, 44
HEADER, COLUMN_NAMES, REASON, BETWEEN = 124, 48, 104, 68
LIKED, LIKED_GAP = 120, 14
RADIUS, FRAME, FRAME_GAP = 12, 4, 4
# Without a border a white cover would end nowhere.
HAIRLINE = 1


@dataclass(frozen=True, eq=False)
class Choice:
    """One item for one user: the covers, `new` is None if there is none; whether the user gets the new one; and why."""

    old: Image.Image
    new: Image.Image | None
    new_wins: bool
    headline: str
    reason: str


@dataclass(frozen=True, eq=False)
class UserBlock:
    """One user: name, taste in words, two liked covers, the names of both rows, a figure and what it counts, one choice an item."""

    name: str
    taste: str
    liked: Sequence[Image.Image]
    rows: tuple[str, str]
    figure: str
    figure_note: str
    choices: Sequence[Choice]


def comparison_sheet(blocks: Sequence[UserBlock], columns: Sequence[str], title: str, subtitle: str) -> Image.Image:
    """Covers have a longer edge of CELL pixels; `columns` are the titles of the items. Long texts end with an ellipsis."""
    left = MARGIN + PANEL + ROW_LABEL
    pitch = 2 * CELL + STACK + REASON + BETWEEN
    width = left + len(columns) * CELL + (len(columns) - 1) * GAP + MARGIN
    top = MARGIN + HEADER
    sheet = Image.new("RGB", (width, top + len(blocks) * pitch + COLUMN_NAMES - BETWEEN + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    write(draw, (MARGIN, MARGIN - 10), title, 44, bold=True)
    write(draw, (MARGIN, MARGIN + 54), fit(draw, subtitle, 19, width - 2 * MARGIN, 1), 19, FAINT)
    for c, name in enumerate(columns):
        write(draw, (left + c * (CELL + GAP), top), fit(draw, name, 18, CELL - 8, 1), 18, bold=True)
    for n, block in enumerate(blocks):
        y = top + COLUMN_NAMES + n * pitch
        if n:
            middle = y - BETWEEN // 2
            draw.line((MARGIN, middle, width - MARGIN, middle), fill=LINE, width=2)
        _panel(sheet, draw, y, block)
        for row, text in enumerate(block.rows):
            _sideways(sheet, text, left - ROW_LABEL + 8, y + row * (CELL + STACK))
        for c, choice in enumerate(block.choices):
            _choice(sheet, draw, left + c * (CELL + GAP), y, choice)
    return sheet


def _panel(sheet: Image.Image, draw: ImageDraw.ImageDraw, y: int, block: UserBlock) -> None:
    room = PANEL - 16
    write(draw, (MARGIN, y - 8), fit(draw, block.name, 34, room, 1), 34, bold=True)
    write(draw, (MARGIN, y + 40), fit(draw, block.taste, 16, room, 2), 16, MUTED)
    if block.liked:
        write(draw, (MARGIN, y + CELL - LIKED - 24), fit(draw, f"{block.name} liked", 14, room, 1), 14, FAINT)
        for n, image in enumerate(block.liked[:2]):
            _paste(sheet, image, MARGIN + n * (LIKED + LIKED_GAP), y + CELL - LIKED, LIKED)
    lower = y + CELL + STACK
    write(draw, (MARGIN, lower), fit(draw, block.figure, 34, room, 1), 34, bold=True)
    write(draw, (MARGIN, lower + 48), fit(draw, block.figure_note, 16, room, 4), 16, MUTED)


def _sideways(sheet: Image.Image, text: str, x: int, y: int) -> None:
    """Text that reads upwards along a cover, in its middle."""
    strip = Image.new("RGB", (CELL, 24), PAPER)
    draw = ImageDraw.Draw(strip)
    write(draw, (CELL // 2, 12), fit(draw, text, 14, CELL, 1), 14, FAINT, anchor="mm")
    sheet.paste(strip.rotate(90, expand=True), (x, y))


def _choice(sheet: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, choice: Choice) -> None:
    new_y = y + CELL + STACK
    _paste(sheet, choice.old, x, y, CELL)
    _paste(sheet, choice.new, x, new_y, CELL)
    edge = FRAME + FRAME_GAP
    side = CELL + 2 * edge
    border = rounded((side, side), RADIUS + edge, FRAME)
    sheet.paste(ACCENT, (x - edge, (new_y if choice.new_wins else y) - edge), border)
    text_y = new_y + CELL + 18
    colour = ACCENT if choice.new_wins else INK
    write(draw, (x, text_y), fit(draw, choice.headline, 18, CELL - 8, 1), 18, colour, bold=True)
    write(draw, (x, text_y + 28), fit(draw, choice.reason, 16, CELL, 3), 16, MUTED)


def _paste(sheet: Image.Image, image: Image.Image | None, x: int, y: int, side: int) -> None:
    """The picture in the middle of its square, with round corners; an empty square for None."""
    shown = Image.new("RGB", (side, side), EMPTY) if image is None else scaled(image, side)
    place = x + (side - shown.width) // 2, y + (side - shown.height) // 2
    radius = RADIUS * side // CELL
    sheet.paste(shown, place, rounded(shown.size, radius))
    sheet.paste(LINE, place, rounded(shown.size, radius, HAIRLINE))
