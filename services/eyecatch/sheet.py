"""Contact sheets: a grid of covers with captions, as one picture a person enjoys looking at. Knows only images and words."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT, LINE, ACCENT = "#faf8f4", "#22201c", "#85807a", "#e4dfd6", "#c8452d"
CELL, GAP, LABEL, CAPTION, HEADER = 176, 18, 210, 40, 34


@dataclass(frozen=True, eq=False)
class Cell:
    """One cover: encoded image (empty = none), a caption of at most two lines, and whether to frame it."""

    image: bytes
    caption: str = ""
    marked: bool = False


@dataclass(frozen=True, eq=False)
class Row:
    """One user or group: a bold label, a fainter note below it, and one cell a column."""

    label: str
    note: str
    cells: Sequence[Cell]


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fit(draw: ImageDraw.ImageDraw, text: str, size: int, width: int, lines: int) -> str:
    """Break at spaces into at most `lines` lines of `width` pixels; what does not fit ends in an ellipsis."""
    font, out, words = _font(size), [""], text.split()
    while words:
        candidate = f"{out[-1]} {words[0]}".strip()
        if draw.textlength(candidate, font=font) <= width:
            out[-1] = candidate
            words.pop(0)
        elif out[-1] and len(out) < lines:
            out.append("")
        else:
            while out[-1] and draw.textlength(out[-1] + "…", font=font) > width:
                out[-1] = out[-1][:-1]
            out[-1] = (out[-1] or words[0][:1]) + "…"
            break
    return "\n".join(out)


def contact_sheet(title: str, subtitle: str, columns: Sequence[str], rows: Sequence[Row]) -> Image.Image:
    """Columns have headers (item titles); covers are scaled to CELL pixels and keep their aspect ratio."""
    width = GAP + LABEL + len(columns) * (CELL + GAP)
    top = 2 * GAP + 58
    height = top + HEADER + len(rows) * (CELL + CAPTION + GAP) + GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, fill=INK, font=_font(26))
    draw.text((GAP, GAP + 36), _fit(draw, subtitle, 14, width - 2 * GAP, 1), fill=FAINT, font=_font(14))
    for c, name in enumerate(columns):
        x = GAP + LABEL + c * (CELL + GAP)
        draw.text((x, top), _fit(draw, name, 15, CELL, 1), fill=INK, font=_font(15))
    for r, row in enumerate(rows):
        y = top + HEADER + r * (CELL + CAPTION + GAP)
        draw.line((GAP, y - GAP // 2, width - GAP, y - GAP // 2), fill=LINE)
        draw.text((GAP, y + 8), _fit(draw, row.label, 18, LABEL - GAP, 2), fill=INK, font=_font(18))
        draw.text((GAP, y + 56), _fit(draw, row.note, 13, LABEL - GAP, 6), fill=FAINT, font=_font(13))
        for c, cell in enumerate(row.cells):
            _paste(sheet, draw, GAP + LABEL + c * (CELL + GAP), y, cell)
    return sheet


def _paste(sheet: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, cell: Cell) -> None:
    if cell.image:
        image = Image.open(io.BytesIO(cell.image)).convert("RGB")
        scale = CELL / max(image.size)
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
        )
        sheet.paste(image, (x + (CELL - image.width) // 2, y + (CELL - image.height) // 2))
    else:
        draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), outline=LINE, fill="#f1ede6")
        draw.text((x + CELL // 2, y + CELL // 2), "no cover yet", fill=FAINT, font=_font(13), anchor="mm")
    if cell.marked:
        draw.rectangle((x - 4, y - 4, x + CELL + 3, y + CELL + 3), outline=ACCENT, width=3)
    draw.text((x, y + CELL + 8), _fit(draw, cell.caption, 12, CELL, 2), fill=FAINT, font=_font(12))
