"""A contact sheet of made-up scenes: a row for each class, mildest defects first.

python -m icg.reliability.sheet --art node_modules --out scenes.webp [--held] [--seed 1]
"""

from __future__ import annotations

import argparse
from itertools import count
from pathlib import Path

from PIL import Image, ImageDraw

from icg.data.art import load_subjects
from icg.errors import IcgError
from icg.reliability.labels import Availability
from icg.reliability.scenes.scenes import SIDE, Scene, Scenes

COLUMNS = 8
MARGIN, LINE = 4, 14


def sheet(scenes: Scenes, seed: int) -> Image.Image:
    """COLUMNS scenes of each class, each with its caption. Raises IcgError where `scenes` have not all classes."""
    if scenes.classes != len(Availability):
        raise IcgError(f"classes={scenes.classes}; allowed: {len(Availability)} for a sheet of all")
    rows: dict[Availability, list[Scene]] = {label: [] for label in Availability}
    for number in count():
        scene = scenes.scene(seed, number)
        rows[scene.label].append(scene)
        if all(len(found) >= COLUMNS for found in rows.values()):
            break
    page = Image.new("RGB", (COLUMNS * (SIDE + MARGIN), len(rows) * (SIDE + 2 * LINE + MARGIN)), "white")
    pen = ImageDraw.Draw(page)
    for row, (label, found) in enumerate(rows.items()):
        top = row * (SIDE + 2 * LINE + MARGIN)
        pen.text((0, top), label.name.lower().replace("_", " "), "black")
        for column, scene in enumerate(sorted(found[:COLUMNS], key=lambda s: s.severity)):
            left = column * (SIDE + MARGIN)
            page.paste(scene.picture, (left, top + LINE))
            pen.text((left, top + LINE + SIDE), scene.caption[:22], "dimgrey")
    return page


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--art", type=Path, required=True, help="a node_modules folder with the emoji packages")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--held", action="store_true", help="the held-out products and props")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sheet(Scenes(load_subjects(given.art), given.held, len(Availability)), given.seed).save(given.out, quality=85)


if __name__ == "__main__":
    main()
