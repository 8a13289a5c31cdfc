"""How many steps does a cover need? Rewards, title retrieval and seconds by number of denoising steps, for one set of briefs.

    python -m benchmarks.few_steps [--checkpoint FOLDER] [--users 3] [--steps 1 2 4 8 16 32]

Every step count draws the same briefs with the same noise: each item of the sample catalogue from its title alone, and anchored in
its picture, for users whose taste is that of a random sample cover. Step counts are timed in turn, batch by batch. The baseline is
the largest count. Anchored covers need as many steps as their reference strength leaves: below 2 there is no draft.
"""

import argparse
import csv
import json
import statistics
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import eyecatch
import numpy as np
import torch
from icg import starter
from icg.brief import Brief
from icg.draw.ask import anchoring
from icg.evaluate.judges import retrieval
from icg.starter import Starter
from PIL import Image

SAMPLE = Path(eyecatch.__file__).parent / "sample"
BATCH = 10


def rows(name: str) -> list[dict[str, str]]:
    """Of a file of the sample catalogue."""
    with (SAMPLE / name).open(newline="") as file:
        return list(csv.DictReader(file))


def briefs(parts: Starter, users: int, anchored: bool) -> list[Brief]:
    """`users` of each sample item."""
    rng = np.random.default_rng(0)
    covers = parts.embedding.covers([Image.open(SAMPLE / row["image"]).convert("RGB") for row in rows("covers.csv")])
    out = []
    for item in rows("items.csv"):
        picture = Image.open(SAMPLE / item["image"])
        for _ in range(users):
            user = covers[rng.integers(len(covers))]
            anchor = {"references": (picture,), **anchoring((picture,))} if anchored else {}
            out.append(Brief(item["title"], user_embedding=user, seed=len(out), **anchor))
    return out


def table(parts: Starter, requests: list[Brief], counts: list[int]) -> dict[int, dict[str, float]]:
    """{steps: {reward or figure: mean}} and the median milliseconds a cover."""
    covers: dict[int, list[Image.Image]] = defaultdict(list)
    took: dict[int, list[float]] = defaultdict(list)
    parts.pipeline(requests[:1])
    for start in range(0, len(requests), BATCH):
        for steps in counts:
            batch = [replace(b, steps=steps) for b in requests[start : start + BATCH]]
            began = time.perf_counter()
            covers[steps] += parts.pipeline(batch)
            took[steps].append((time.perf_counter() - began) / len(batch) * 1000)
    titles = [b.title for b in requests]
    among = list(dict.fromkeys(titles))
    out = {}
    for steps in counts:
        figures = {name: float(reward(covers[steps], requests).mean()) for name, reward in parts.rewards.items()}
        figures["title_top5"] = retrieval(parts.embedding, covers[steps], titles, among)["top5"]
        out[steps] = {k: round(v, 4) for k, v in figures.items()} | {"ms": round(statistics.median(took[steps]), 1)}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=None, help="starter-shaped folder")
    parser.add_argument("--users", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    args = parser.parse_args()
    torch.set_num_threads(2)
    parts = starter.load(args.checkpoint)
    result: dict[str, object] = {}
    for kind, anchored in (("title_only", False), ("anchored", True)):
        counts = [n for n in sorted(args.steps) if n > 1 or not anchored]
        figures = table(parts, briefs(parts, args.users, anchored), counts)
        print(kind)
        for steps, row in figures.items():
            print(f"  {steps:3d} steps  " + "  ".join(f"{name} {value}" for name, value in row.items()))
        result[kind] = figures
    print(json.dumps(result))


if __name__ == "__main__":
    main()
