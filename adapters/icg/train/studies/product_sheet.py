"""A picture of icg.train.studies.product_identity's products: a row a product, a column a method, the same noise everywhere.

    icg train product-sheet --runs runs/products --out docs/products.webp

Not chosen by hand: the first covers of seed 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from icg import starter
from icg.brief import Brief
from icg.contact_sheet import Cell, Row, contact_sheet
from icg.products.library import Library
from icg.starter import Starter
from icg.train.flags import Flags
from icg.train.products.art import THINGS, Thing, pictures
from icg.train.studies.product_identity import drawing

COLUMNS = {
    "untuned": "untuned starter",
    "textual_inversion": "textual inversion",
    "dreambooth": "DreamBooth, low-rank",
    "dreambooth_no_prior": "... without prior",
    "full": "DreamBooth, full",
}
EDGE = 96


def sheet(parts: Starter, runs: Path, things: list[Thing], each: int = 2) -> Image.Image:
    """One training picture, then `each` covers of "a {product}" by every method."""
    library, rows = Library(runs / "library"), []
    for thing in things:
        cells = [Cell(pictures(thing, 1)[0])]
        for method in COLUMNS:
            tuned = method != "untuned"
            parts.pipeline.products = library if tuned else None
            brief = Brief("x", product_id=f"{thing.id}-{method.replace('_', '-')}-0" if tuned else "")
            covers = drawing(parts, brief, 0, each)("a {product}" if tuned else f"a {thing.kind}")
            cells += [Cell(cover) for cover in covers]
        rows.append(Row(thing.id, "", cells))
    columns = ["1 of 5 pictures", *(name if n == 0 else "" for name in COLUMNS.values() for n in range(each))]
    return contact_sheet(rows, columns, cell=EDGE)


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train product-sheet`."""
    parser = Flags(__name__, __doc__, smoke=False, out="picture file")
    parser.add_argument("--runs", type=Path, required=True, help="OUT of `icg train product-identity`")
    args = parser.parse_args(argv)
    library = Library(args.runs / "library").ids()
    things = [t for t in THINGS if all(f"{t.id}-{m.replace('_', '-')}-0" in library for m in list(COLUMNS)[1:])]
    sheet(starter.load(), args.runs, things).save(args.out, quality=80, method=6)
