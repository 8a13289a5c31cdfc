"""A contact sheet of drawn scenes: a row for each class, mildest defects first.

icg train scenes-sheet --art node_modules --out scenes.webp [--held] [--seed 1]
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from PIL import Image

from icg.contact_sheet import Cell, Row, contact_sheet
from icg.data.art import load_subjects
from icg.errors import IcgError
from icg.reliability.labels import Availability
from icg.reliability.scenes.scenes import SIDE, Scene, Scenes
from icg.train.flags import Flags

COLUMNS = 8


def sheet(scenes: Scenes, seed: int) -> Image.Image:
    """COLUMNS scenes of each class, each with its caption. Raises IcgError if `scenes` lack a class."""
    if scenes.classes != len(Availability):
        raise IcgError(f"classes={scenes.classes}; allowed: {len(Availability)} for a sheet of all")
    rows: dict[Availability, list[Scene]] = {label: [] for label in Availability}
    for number in count():
        scene = scenes.scene(seed, number)
        rows[scene.label].append(scene)
        if all(len(row) >= COLUMNS for row in rows.values()):
            break
    page = []
    for label, row in rows.items():
        mildest = sorted(row[:COLUMNS], key=lambda scene: scene.severity)
        name = label.name.lower().replace("_", " ")
        page.append(Row(name, "", [Cell(scene.picture, scene.caption) for scene in mildest]))
    return contact_sheet(page, cell=SIDE)


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train scenes-sheet`."""
    parser = Flags(__name__, __doc__, art="needed", smoke=False, out="picture file", seed=1)
    parser.add_argument("--held", action="store_true", help="use the held-out products and props")
    args = parser.parse_args(argv)
    sheet(Scenes(load_subjects(args.art), args.held, len(Availability)), args.seed).save(args.out, quality=85)
