"""Contact sheets: rows of covers with captions, as one picture. Knows only images and words; PIL alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from icg.typesetting import ACCENT, EMPTY, FAINT, INK, LINE, PAPER, fit, font, scaled

CELL, GAP, LABEL, CAPTION, HEADER = 176, 18, 210, 40, 34


@dataclass(frozen=True, eq=False)
class Cell:
    """One cover: its picture (None for "no cover yet"), a caption of at most two lines, and whether to frame it."""

    image: Image.Image | None
    caption: str = ""
    marked: bool = False


@dataclass(frozen=True, eq=False)
class Row:
    """One user, product or method: a bold label, a fainter note below it, and one cell a column."""

    label: str
    note: str
    cells: Sequence[Cell]


def contact_sheet(
    rows: Sequence[Row], columns: Sequence[str] = (), title: str = "", subtitle: str = "", cell: int = CELL
) -> Image.Image:
    """Covers keep their aspect ratio, their longer edge scaled to `cell` pixels; `columns` are headers.

    Room for labels, captions and headers is left only if there are any.
    """
    most = max(len(columns), *(len(row.cells) for row in rows))
    left = GAP + (LABEL if any(row.label or row.note for row in rows) else 0)
    top = GAP + (GAP + 58 if title else 0)
    header = HEADER if columns else 0
    pitch = cell + GAP + (CAPTION if any(c.caption for row in rows for c in row.cells) else 0)
    sheet = Image.new("RGB", (left + most * (cell + GAP), top + header + len(rows) * pitch), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((GAP, GAP), title, fill=INK, font=font(26))
        draw.text((GAP, GAP + 36), fit(draw, subtitle, 14, sheet.width - 2 * GAP, 1), fill=FAINT, font=font(14))
    for c, name in enumerate(columns):
        draw.text((left + c * (cell + GAP), top), fit(draw, name, 15, cell, 1), fill=INK, font=font(15))
    for r, row in enumerate(rows):
        y = top + header + r * pitch
        draw.line((GAP, y - GAP // 2, sheet.width - GAP, y - GAP // 2), fill=LINE)
        draw.text((GAP, y + 8), fit(draw, row.label, 18, LABEL - GAP, 2), fill=INK, font=font(18))
        draw.text((GAP, y + 56), fit(draw, row.note, 13, LABEL - GAP, 6), fill=FAINT, font=font(13))
        for c, content in enumerate(row.cells):
            _paste(sheet, draw, left + c * (cell + GAP), y, content, cell)
    return sheet


def _paste(sheet: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, cell: Cell, side: int) -> None:
    if cell.image is not None:
        image = scaled(cell.image, side)
        sheet.paste(image, (x + (side - image.width) // 2, y + (side - image.height) // 2))
    else:
        draw.rectangle((x, y, x + side - 1, y + side - 1), outline=LINE, fill=EMPTY)
        draw.text((x + side // 2, y + side // 2), "no cover yet", fill=FAINT, font=font(13), anchor="mm")
    if cell.marked:
        draw.rectangle((x - 4, y - 4, x + side + 3, y + side + 3), outline=ACCENT, width=3)
    draw.text((x, y + side + 8), fit(draw, cell.caption, 12, side, 2), fill=FAINT, font=font(12))
