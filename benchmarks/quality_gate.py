"""The gate of quality: how many clean covers, and how many damaged ones, pass it beside an item's other covers, at each tolerance.

    python -m benchmarks.quality_gate [--seed 0]

Items, pictures and covers are the sample's. Each cover in turn stands for a new one beside its item's four pictures and other covers: as
it is, and with each damage of `icg.data.degrade`, of at least half severity. All by the shipped aesthetic and its scale.
"""

import argparse
import csv
import json
from pathlib import Path

import eyecatch
import numpy as np
from eyecatch.core.trust.standing import TOLERANCE
from icg import starter
from icg.brief import Brief
from icg.data.art import procedural
from icg.data.compose import SIDE, Look
from icg.data.degrade import COMPOSED, DAMAGES
from icg.pictures import decode
from PIL import Image

from benchmarks import report

SAMPLE = Path(eyecatch.__file__).parent / "sample"
TOLERANCES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
KINDS = tuple(kind for kind in DAMAGES if kind not in COMPOSED)


def pictures(columns: list[str], row: dict[str, str]) -> list[Image.Image]:
    """Of a row of a table of the sample."""
    return [decode((SAMPLE / row[name]).read_bytes(), name).convert("RGB") for name in columns]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    reward, rng = starter.load().rewards["aesthetic"], np.random.default_rng(args.seed)
    scale = json.loads((starter.path() / "space" / "scales.json").read_text())["aesthetic"]["deviation"]
    art = [subject.sprites["3d"] for subject in procedural(6)]

    def values(images: list[Image.Image]) -> np.ndarray:
        return np.asarray(reward(images, [Brief("x")] * len(images)), np.float64)

    with (SAMPLE / "items.csv").open() as items, (SAMPLE / "covers.csv").open() as covers:
        own = {
            row["item_id"]: pictures(["image", "image_2", "image_3", "image_4"], row) for row in csv.DictReader(items)
        }
        rows = list(csv.DictReader(covers))
    margins: dict[str, list[np.ndarray]] = {kind: [] for kind in ("clean", *KINDS)}
    for item, references in own.items():
        pool = [picture for row in rows if row["item_id"] == item for picture in pictures(["image"], row)]
        clean, best = values(pool), values(references).max()
        least = np.array([max(best, np.delete(clean, n).max(initial=-np.inf)) for n in range(len(pool))])
        margins["clean"].append((clean - least) / scale)
        for kind in KINDS:
            look = Look("painted", "mono", "dots", "close")
            large = [picture.resize((2 * SIDE, 2 * SIDE), Image.Resampling.LANCZOS) for picture in pool]
            spoiled = [DAMAGES[kind](big, look, rng.uniform(0.5, 1.0), rng, art) for big in large]
            margins[kind].append((values(spoiled) - least) / scale)
    flat = {kind: np.concatenate(rows) for kind, rows in margins.items()}
    flat["damaged"] = np.concatenate([flat[kind] for kind in KINDS])
    shares = {kind: [round(float((rows >= -t).mean()), 3) for t in TOLERANCES] for kind, rows in flat.items()}
    for kind, row in shares.items():
        print(f"{kind:12}", *(f"{value:6.3f}" for value in row))
    chosen = TOLERANCES.index(TOLERANCE)
    report({"tolerance": TOLERANCE, "clean_pass": shares["clean"][chosen], "damaged_pass": shares["damaged"][chosen]})


if __name__ == "__main__":
    main()
