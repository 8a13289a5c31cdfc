"""Words and covers on a sheet: the font, lines that fit a width, pictures that fit a square. PIL alone, knows no layout."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

PAPER, EMPTY, LINE = "#faf8f4", "#f1ede6", "#e4dfd6"
INK, MUTED, FAINT, ACCENT = "#22201c", "#5f5a54", "#85807a", "#c8452d"
# PIL has one weight of its font: a stroke of this part of the size makes it bold.
STROKE = 0.02
# Masks of rounded corners are drawn larger and reduced: PIL does not smooth edges.
SMOOTH = 4


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of PIL itself, so that sheets look the same on every machine."""
    return ImageFont.load_default(size)


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    colour: str = INK,
    bold: bool = False,
    anchor: Literal["la", "mm"] | None = None,
) -> None:
    """Text of one or more lines from its upper left corner, or around its middle (`anchor` "mm", one line)."""
    draw.text(
        place,
        text,
        fill=colour,
        font=font(size),
        anchor=anchor,
        spacing=round(size * 0.38),
        stroke_width=size * STROKE if bold else 0,
    )


def fit(draw: ImageDraw.ImageDraw, text: str, size: int, width: int, lines: int) -> str:
    """Break at spaces into at most `lines` lines of `width` pixels; an ellipsis replaces the rest."""
    face, out, words = font(size), [""], text.split()
    while words:
        candidate = f"{out[-1]} {words[0]}".strip()
        if draw.textlength(candidate, font=face) <= width:
            out[-1] = candidate
            words.pop(0)
        elif out[-1] and len(out) < lines:
            out.append("")
        else:
            out[-1] = out[-1] or words[0]
            while out[-1] and draw.textlength(out[-1] + "…", font=face) > width:
                out[-1] = out[-1][:-1]
            out[-1] += "…"
            break
    return "\n".join(out)


def scaled(image: Image.Image, side: int) -> Image.Image:
    """The picture as RGB, its longer edge `side` pixels."""
    image = image.convert("RGB")
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def rounded(size: tuple[int, int], radius: int, line: int = 0) -> Image.Image:
    """A mask (mode L) of a rectangle with round corners: filled, or with `line` only its border of so many pixels."""
    width, height = size[0] * SMOOTH, size[1] * SMOOTH
    mask = Image.new("L", (width, height), 0)
    fill, outline = (0, 255) if line else (255, 255)
    ImageDraw.Draw(mask).rounded_rectangle(
        (0, 0, width - 1, height - 1), radius * SMOOTH, fill=fill, outline=outline, width=max(1, line * SMOOTH)
    )
    return mask.resize(size, Image.Resampling.LANCZOS)
