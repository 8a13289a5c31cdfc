"""Whether the aesthetic reward holds on one's own pictures: each picture should rank above damaged copies of itself.

Damage is that of `icg.data.degrade`, of any severity from a quarter up. Compared with single statistics; nothing is trained here, so that
the pictures may be any, also some that weights must never learn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from icg.brief import Brief
from icg.data import photographs
from icg.data.art import procedural
from icg.data.compose import SIDE, Look
from icg.data.degrade import COMPOSED, DAMAGES, finished
from icg.errors import InputError
from icg.pictures import decode, read
from icg.rewards.base import Reward, pixels
from icg.rewards.statistics import NAMES, statistics

SEVERITY = (0.25, 1.0)
BASELINES = ("sharpness", "contrast")
KINDS = tuple(kind for kind in DAMAGES if kind not in COMPOSED)
WHOLE, CONTROL = "score whole", "another's damage"


def measure(reward: Reward, folder: Path, seeds: int, count: int) -> tuple[dict[str, dict[str, list[float]]], int]:
    """Kind of damage -> {reward, each baseline, `CONTROL`} -> share of pairs in the right order, a value a seed; and the pictures left out.

    The control is how often a picture ranks above a damaged copy of another one: without that, a reward that ranks kinds of pictures
    could pass for one that sees damage. Row `WHOLE` has the reward's mean on whole pictures. Raises InputError without two pictures.
    """
    paths = photographs.pictures(folder)
    table: dict[str, dict[str, list[float]]] = {}
    refused = 0
    for seed in range(seeds):
        rng = np.random.default_rng((seed, 21))
        images, bad = load([paths[n] for n in rng.permutation(len(paths))], count)
        refused = max(refused, bad)
        if len(images) < 2:
            raise InputError("pictures", f"{len(images)} in {str(folder)!r} that can be decoded", "at least two")
        whole = [finished(big) for big in images]
        clean = rated(reward, whole)
        table.setdefault(WHOLE, {}).setdefault(reward.name, []).append(float(clean[reward.name].mean()))
        art = [subject.sprites["3d"] for subject in procedural(6)]
        for kind in KINDS:
            damaged = rated(reward, [_damaged(kind, big, rng, art) for big in images])
            row = table.setdefault(kind, {})
            for name, values in clean.items():
                row.setdefault(name, []).append(share(values, damaged[name]))
            other = share(clean[reward.name], np.roll(damaged[reward.name], 1))
            row.setdefault(CONTROL, []).append(other)
    return table, refused


def load(paths: Sequence[Path], count: int) -> tuple[list[Image.Image], int]:
    """The first `count` pictures that can be decoded, squeezed to (2 SIDE, 2 SIDE); and how many could not."""
    images: list[Image.Image] = []
    refused = 0
    for path in paths:
        try:
            picture = decode(read(path), path.name, longest=1024)
        except InputError:
            refused += 1
            continue
        images.append(picture.resize((2 * SIDE, 2 * SIDE), Image.Resampling.LANCZOS))
        if len(images) == count:
            break
    return images, refused


@torch.inference_mode()
def rated(reward: Reward, images: list[Image.Image]) -> dict[str, np.ndarray]:
    """(N,) by the reward and by each of BASELINES."""
    rows = statistics(pixels(images, SIDE)).numpy()
    values = {name: rows[:, NAMES.index(name)] for name in BASELINES}
    return {reward.name: reward(images, [Brief("x")] * len(images))} | values


def share(better: np.ndarray, worse: np.ndarray) -> float:
    """Of pairs in which `better` is higher; ties count half."""
    return float((better > worse).mean() + 0.5 * (better == worse).mean())


def last_line(table: dict[str, dict[str, list[float]]], name: str) -> dict[str, float | str]:
    """All figures of the reward in one object: `pairs` over all kinds, `worst` among them and its name, then each kind."""
    kinds = {kind: round(float(np.mean(row[name])), 4) for kind, row in table.items() if kind != WHOLE}
    worst = min(kinds, key=lambda kind: kinds[kind])
    pairs = np.array([table[kind][name] for kind in kinds]).mean(0)
    head = {"pairs": round(float(pairs.mean()), 4), "spread": round(float(pairs.std()), 4), "worst": kinds[worst]}
    return {**head, "worst_kind": worst, "whole": round(float(np.mean(table[WHOLE][name])), 4), **kinds}


def _damaged(kind: str, big: Image.Image, rng: np.random.Generator, art: Sequence[np.ndarray]) -> Image.Image:
    again = np.random.default_rng(int(rng.integers(2**31)))
    return DAMAGES[kind](big, Look("painted", "mono", "dots", "close"), rng.uniform(*SEVERITY), again, art)
