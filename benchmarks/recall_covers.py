"""Generated covers in the recall job on the simulated catalogue: original, for nobody, for the user, for another user, shuffled.

    python -m benchmarks.recall_covers [--people 15] [--tastes 6] [--themes 0.1] [--folder DIR]

The sample's 48 items and 240 covers, and SIMULATED users: --people of each of its six tastes, with noise and second favourites of their
own, who are shown 150 of the covers and engage with those that they like, as `icg.data.sample.simulate` has it. --themes: share of what
they like that is the item's theme; the rest is the look of the cover that they were shown. Impressions are left
out: an item that was shown is not ranked again, and hardly any of 48 would be left. Covers are drawn by the starter for the largest
taste clusters of these users and for nobody; then `eyecatch evaluate recall` ranks all items for each user. Of 48 items 20 are many:
read NDCG and the reciprocal rank. With --folder an interrupted run goes on.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import eyecatch
import numpy as np
from icg.data.art import CATEGORIES
from icg.data.bank import AXES, AXIS_NAMES
from icg.data.sample import USERS, simulate
from icg.data.tastes import STRENGTH

from benchmarks import report

SAMPLE = Path(eyecatch.__file__).parent / "sample"
HEADER = ("event_id", "user_id", "item_id", "cover_id", "action", "timestamp", "dwell_ms")


def read(name: str) -> list[dict[str, str]]:
    with (SAMPLE / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def events(people: int, themes_share: float, seed: int) -> list[tuple[Any, ...]]:
    """Rows of HEADER for `people` users of each taste, without impressions."""
    covers, category = read("covers.csv"), {row["item_id"]: row["category"] for row in read("items.csv")}
    looks = np.array([[axis.index(row[n]) for axis, n in zip(AXES, AXIS_NAMES, strict=True)] for row in covers])
    themes = np.array([CATEGORIES.index(category[row["item_id"]]) for row in covers])
    users = {f"{name}-{n}": taste for n in range(people) for name, taste in USERS.items()}
    rows = [(row["cover_id"], row["item_id"]) for row in covers]
    *of_looks, _ = STRENGTH
    weight = sum(STRENGTH) * (1 - themes_share) / sum(of_looks)
    strength = [*(weight * one for one in of_looks), sum(STRENGTH) * themes_share]
    simulated = simulate(looks, themes, rows, np.random.default_rng(seed), users, strength)
    return [row for row in simulated if row[4] != "impression"]


def command(*words: str) -> str:
    """The output of an `eyecatch` command; its progress goes to the terminal."""
    done = subprocess.run([sys.executable, "-m", "eyecatch.cli", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"eyecatch {' '.join(words)} ended with {done.returncode}: {done.stdout}")
    return done.stdout


def measure(folder: Path, people: int, tastes: int, themes: float, seed: int) -> dict[str, Any]:
    where = ("--data-dir", str(folder / "data"))
    if not (folder / "imported").exists():
        with (folder / "events.csv").open("w", newline="") as file:
            csv.writer(file).writerows([HEADER, *events(people, themes, seed)])
        for what, table in (("items", SAMPLE), ("covers", SAMPLE), ("events", folder)):
            command("import", what, str(table / f"{what}.csv"), *where)
        command("clusters", "fit", "--count", str(tastes), "--least", str(max(2, people // 2)), *where)
        (folder / "imported").touch()
    counts = json.loads(command("clusters", "generate", "--nobody", "--tastes", str(tastes), "--json", *where))
    words = ("--leave-out", "3", "--min-events", "6", "--k", "5", "--out", str(folder / "recall"), "--json")
    return {"drawn": counts, "recall": json.loads(command("evaluate", "recall", *words, *where))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=15)
    parser.add_argument("--tastes", type=int, default=6)
    parser.add_argument("--themes", type=float, default=STRENGTH[-1] / sum(STRENGTH))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eyecatch-covers-") as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = measure(folder, args.people, args.tastes, args.themes, args.seed)
    result = outcome["recall"]
    print(
        f"{result['users']} SIMULATED users, {result['items']} items, covers {outcome['drawn']}, counted {result['counts']}"
    )
    figures: dict[str, Any] = {"users": result["users"]}
    for name, row in result["rankings"].items():
        for metric in ("recall@5", "ndcg@20", "mrr"):
            figures[f"{name}, {metric}"] = row["figures"][metric]["mean"]
    for name, by in result["covers"].items():
        for metric in ("ndcg@20", "mrr"):
            one = by[metric]
            print(f"{name}, {metric}: {one['mean']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f})")
            figures[f"{name}, {metric}"] = one["mean"]
    report(figures)


if __name__ == "__main__":
    main()
