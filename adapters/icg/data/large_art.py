"""The subjects of `icg.data.art` in large pictures, for catalogues that people look at; trainings read the small sprites.

A drawing is rendered at the size asked for, and a 3d picture keeps its own pixels: nothing is scaled, so no edge is soft or rings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from icg.data.art import STYLES, Entry, Subject, entries, title_of
from icg.data.icons import IconSet
from icg.errors import IcgError

EDGE = 280


def large_subjects(art: Path, ids: Sequence[str], edge: int = EDGE) -> list[Subject]:
    """The subjects `ids` in this order, with sprites (S, S, 4) uint8 RGBA of a visible part that is centred and touches two edges.

    S is `edge`, give or take a pixel, for drawings, and at most 256 for the 3d style. Raises IcgError for an id that is not among
    `icg.data.art.entries`, and if the art is missing.
    """
    by_id = {entry.id: entry for entry in entries(art)}
    if missing := [id for id in ids if id not in by_id]:
        raise IcgError(f"ids={missing}; allowed: subjects drawn in every style, for example {sorted(by_id)[:3]}")
    return [Subject(id, title_of(id), by_id[id].category, _sprites(by_id[id], edge)) for id in ids]


def _sprites(entry: Entry, edge: int) -> dict[str, np.ndarray]:
    pictures = [_drawing(icons, name, edge) for icons, name in entry.icons]
    pictures.insert(0, Image.open(entry.fluent).convert("RGBA"))
    return {style: _square(picture) for style, picture in zip(STYLES, pictures, strict=True)}


def _drawing(icons: IconSet, name: str, edge: int) -> Image.Image:
    """The drawing whose visible part is `edge` pixels wide or high."""
    box = icons.draw(name, edge).getbbox() or (0, 0, edge, edge)
    return icons.draw(name, round(edge * edge / max(box[2] - box[0], box[3] - box[1])))


def _square(picture: Image.Image) -> np.ndarray:
    """Cropped to the visible part and padded to a square."""
    part = picture.crop(picture.getchannel("A").getbbox())
    square = Image.new("RGBA", (max(part.size),) * 2)
    square.paste(part, ((square.width - part.width) // 2, (square.height - part.height) // 2))
    return np.asarray(square).copy()
