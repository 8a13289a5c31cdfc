"""A contact sheet of made-up scenes: a row for each class, mildest defects first.

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


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train scenes-sheet`."""
    parser = Flags(__name__, __doc__, art="needed", smoke=False, out="picture file", seed=1)
    parser.add_argument("--held", action="store_true", help="the held-out products and props")
    given = parser.parse_args(argv)
    sheet(Scenes(load_subjects(given.art), given.held, len(Availability)), given.seed).save(given.out, quality=85)
