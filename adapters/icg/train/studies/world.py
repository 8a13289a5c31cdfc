"""A contact sheet of the starter's drawn world: a row for each palette, a column for each backdrop.

icg train world --out world.png [--art node_modules] [--side 128] [--seed 1]
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from icg.contact_sheet import Cell, Row, contact_sheet
from icg.data.art import STYLES, Subject, load_subjects
from icg.data.compose import BACKDROPS, FRAMINGS, PALETTES, SIDE, Look, compose, ground
from icg.train.flags import Flags


def sheet(subjects: Sequence[Subject], side: int, seed: int) -> Image.Image:
    """Bare grounds; with `subjects`, every second one is a cover. The seed is that of the first ground, and counts up."""
    rows = []
    for r, palette in enumerate(PALETTES):
        cells = []
        for c, backdrop in enumerate(BACKDROPS):
            number = r * len(BACKDROPS) + c
            if subjects and (r + c) % 2:
                style = STYLES[number // 2 % len(STYLES)]
                look = Look(style, palette, backdrop, FRAMINGS[number % len(FRAMINGS)])
                subject = subjects[number * 7 % len(subjects)]
                cells.append(Cell(compose(subject.sprites[style], look, seed + number, side)))
            else:
                cells.append(Cell(ground(palette, backdrop, seed + number, side)))
        rows.append(Row(palette, " ".join(PALETTES[palette]), cells))
    return contact_sheet(rows, BACKDROPS, cell=side)


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train world`."""
    parser = Flags(__name__, __doc__, art="maybe", smoke=False, out="picture file", side=SIDE)
    args = parser.parse_args(argv)
    sheet(load_subjects(args.art) if args.art else [], args.side, args.seed).save(args.out)
