"""Contact sheets of made covers: each item's picture, and its cover for three users. To look at, and to compare two commits.

git worktree add ../before COMMIT
PYTHONPATH=../before/services:../before/adapters python tests/artwork_sheet.py before.png
python -m tests.artwork_sheet after.png --table posters/items.csv --image cover
"""

import argparse
import csv
from pathlib import Path

import eyecatch
import numpy as np
from icg import starter
from icg.brief import Brief
from icg.contact_sheet import Cell, Row, contact_sheet
from icg.draw.ask import anchoring
from icg.pictures import decode

SAMPLE = Path(eyecatch.__file__).parent / "sample" / "items.csv"


def user(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(64).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--table", type=Path, default=SAMPLE, help="a table with titles and paths of pictures")
    parser.add_argument("--image", default="image", help="its column of pictures")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--seed", type=int, default=5, help="which items")
    parser.add_argument("--cell", type=int, default=176, help="pixels of a cover on the sheet")
    args = parser.parse_args()
    with args.table.open(newline="") as file:
        items = list(csv.DictReader(file))
    rows = [items[n] for n in np.random.default_rng(args.seed).permutation(len(items))[: args.count]]
    pictures = [decode((args.table.parent / row[args.image]).read_bytes(), mode="") for row in rows]
    sheet = [Row("the picture", "", [Cell(p, row["title"]) for p, row in zip(pictures, rows, strict=True)])]
    pipeline = starter.load().pipeline
    anchors = [anchoring((picture,)) for picture in pictures]
    for seed in range(3):
        briefs = [
            Brief(row["title"], (picture,), user(seed), seed=seed, **anchor)
            for row, picture, anchor in zip(rows, pictures, anchors, strict=True)
        ]
        covers = pipeline(briefs)
        sheet.append(Row(f"user {seed}", "", [Cell(cover, f"{cover.width} x {cover.height}") for cover in covers]))
    contact_sheet(sheet, cell=args.cell).save(args.out)


if __name__ == "__main__":
    main()
