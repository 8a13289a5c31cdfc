"""A contact sheet of made-up scenes: a row for each class, mildest defects first.

python -m icg.reliability.sheet --art node_modules --out scenes.webp [--held] [--seed 1]
"""

from __future__ import annotations

import argparse
from itertools import count
from pathlib import Path

from PIL import Image

from icg.contact_sheet import Cell, Row, contact_sheet
from icg.data.art import load_subjects
from icg.errors import IcgError
from icg.reliability.labels import Availability
from icg.reliability.scenes.scenes import SIDE, Scene, Scenes

COLUMNS = 8


def sheet(scenes: Scenes, seed: int) -> Image.Image:
    """COLUMNS scenes of each class, each with its caption. Raises IcgError where `scenes` have not all classes."""
    if scenes.classes != len(Availability):
        raise IcgError(f"classes={scenes.classes}; allowed: {len(Availability)} for a sheet of all")
    rows: dict[Availability, list[Scene]] = {label: [] for label in Availability}
    for number in count():
        scene = scenes.scene(seed, number)
        rows[scene.label].append(scene)
        if all(len(some) >= COLUMNS for some in rows.values()):
            break
    mildest = {label: sorted(some[:COLUMNS], key=lambda scene: scene.severity) for label, some in rows.items()}
    return contact_sheet(
        [
            Row(label.name.lower().replace("_", " "), "", [Cell(scene.picture, scene.caption) for scene in some])
            for label, some in mildest.items()
        ],
        cell=SIDE,
    )


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
