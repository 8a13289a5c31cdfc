"""How many product pictures could be shown, before and after RFFT, and what it costs: `icg evaluate reliability`.

Held-out products, several pictures of each. Availability by the checkpoint's RFNet, which RFFT was rewarded by, by a second one that it
never met, and by what can be measured without a network (`icg.reliability.rules`), so that fooling RFNet shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from icg import starter
from icg.brief import Brief
from icg.contact_sheet import Cell, Row, contact_sheet
from icg.data.art import Subject, load_subjects
from icg.draw.pipeline import CoverPipeline
from icg.errors import CheckpointError
from icg.evaluate.product_briefs import briefs, products, repeated
from icg.products.inpainting import Inpainter, planes, stand
from icg.reliability.diversity import distances, entropy
from icg.reliability.judge import Judge
from icg.reliability.metrics import quality
from icg.reliability.rules import measure as rules
from icg.reliability.scenes.scenes import Scenes, exact
from icg.rewards.base import Reward
from icg.starter import Starter

DRAWS = 4
"""Pictures of each brief: the attempts of recurrent generation."""
SCENES = 25
"""Held-out scenes a brief on which RFNet itself is judged: a few hundred do not tell it from the picture alone."""
BATCH, SHOWN = 16, 8
ENGINEERED = ", standing on the floor with its shadow, true to scale, before a plain wall of another colour"
FIGURES = (
    "rfnet_f1", "rfnet_f1_gain", "availability_before", "availability_cc", "availability_no_regulariser", "diversity_ratio_cc",
    "diversity_ratio_no_regulariser", "attempts_before", "attempts_after",
)  # fmt: skip
Spread = tuple[float, float]
"""Mean and deviation over seeds."""


@dataclass(frozen=True)
class Compared:
    """Folders, each left out where None. ControlNets: before RFFT, tuned without a regulariser, tuned with KL. Judges: one of the
    picture alone, and one that RFFT never met."""

    before: Path | None = None
    no_regulariser: Path | None = None
    kl: Path | None = None
    image_only: Path | None = None
    second: Path | None = None


@dataclass(frozen=True, eq=False)
class Drawn:
    """Covers of B briefs, DRAWS of each in a row, and their products where they stand."""

    asked: list[Brief]
    covers: list[Image.Image]
    placed: list[Image.Image]


def draw(pipeline: CoverPipeline, asked: Sequence[Brief]) -> Drawn:
    """Each brief with DRAWS seeds."""
    each = repeated(asked, DRAWS)
    covers = [cover for i in range(0, len(each), BATCH) for cover in pipeline(each[i : i + BATCH])]
    return Drawn(each, covers, [stand(b.product, b.seed, b.size) for b in each if b.product is not None])


def shown(judge: Judge, drawn: Drawn) -> np.ndarray:
    """(B, DRAWS) bool: what the judge would show. Captions as the first brief of each row has them."""
    cut = [b.product for b in drawn.asked if b.product is not None]
    said = judge(drawn.covers, cut, [b.title.removesuffix(ENGINEERED) for b in drawn.asked])
    return np.array([one.available for one in said]).reshape(-1, DRAWS)


def figures(judge: Judge, second: Judge | None, relevance: Reward, drawn: Drawn) -> dict[str, float]:
    """Of one ControlNet."""
    seen = shown(judge, drawn)
    first = np.where(seen.any(1), seen.argmax(1) + 1, DRAWS)
    pictures = torch.cat([planes(c) for c in drawn.covers])
    by_rule = [exact(rules(c, p)) == 0 for c, p in zip(drawn.covers, drawn.placed, strict=True)]
    found = {
        "available": float(seen.mean()),
        "best_of_n": float(seen.any(1).mean()),
        "attempts": float(first.mean()),
        "available_by_rule": float(np.mean(by_rule)),
        "relevance": float(relevance(drawn.covers, drawn.asked).mean()),
        "distance": float(distances(pictures, drawn.placed, DRAWS).mean()),
        "entropy": entropy(pictures, drawn.placed),
    }
    if second is not None:
        found["available_by_second"] = float(shown(second, drawn).mean())
    return found


def validated(parts: Starter, subjects: Sequence[Subject], count: int) -> dict[str, float]:
    """What its ControlNet does for `count` briefs of products that neither RFFT nor the last word draws for, by its own judge.

    CheckpointError for a checkpoint without reliability/.
    """
    if parts.judge is None:
        raise CheckpointError(f"checkpoint={parts.name!r} without reliability/; allowed: one with it")
    asked = briefs(products(subjects, "valid"), count, np.random.default_rng(43))
    return figures(parts.judge, None, parts.rewards["relevance"], draw(parts.pipeline, asked))


def f1(judge: Judge, subjects: Sequence[Subject], seed: int, count: int) -> float:
    """Of "available", on new scenes of held-out products."""
    scenes = list(Scenes(subjects, held=True).stream(1_000 + seed, count))
    said = judge([s.picture for s in scenes], [s.product for s in scenes], [s.caption for s in scenes])
    told = np.array([list(one.probabilities.values()) for one in said])
    return quality(told, np.array([int(s.label) for s in scenes]), judge.threshold).f1


def measure(
    checkpoint: Path, art: Path, seeds: int, count: int, compared: Compared, sheet: Path | None = None
) -> tuple[dict[str, Spread | None], dict[str, dict[str, Spread]]]:
    """FIGURES, None where what they need is not there; and a table: kind of pictures -> figure -> mean and deviation.

    `count` briefs a seed. `sheet`: where a contact sheet of each kind's first covers goes. CheckpointError for a checkpoint without
    controlnet/ or reliability/.
    """
    subjects = load_subjects(art)
    parts = starter.load(checkpoint)
    pipeline, judge, own = parts.pipeline, parts.judge, parts.pipeline.inpainter
    if judge is None or own is None:
        raise CheckpointError(f"checkpoint={str(checkpoint)!r}; allowed: one with controlnet/ and reliability/")
    second = Judge.from_pretrained(compared.second) if compared.second else None
    alone = Judge.from_pretrained(compared.image_only) if compared.image_only else None
    nets = {"cc": own} | {
        name: Inpainter.from_pretrained(folder, pipeline.family)
        for name in ("before", "no_regulariser", "kl")
        if (folder := getattr(compared, name)) is not None
    }
    rows: dict[str, list[dict[str, float]]] = {
        name: [] for name in (*nets, *(["engineered"] if "before" in nets else []))
    }
    f1s: list[tuple[float, float]] = []
    looks: dict[str, list[Image.Image]] = {}
    for seed in range(seeds):
        asked = briefs(products(subjects, "held"), count, np.random.default_rng((seed, 41)))
        for name, found in rows.items():
            pipeline.inpainter = nets["before" if name == "engineered" else name]
            said = [replace(b, title=b.title + ENGINEERED) for b in asked] if name == "engineered" else asked
            drawn = draw(pipeline, said)
            found.append(figures(judge, second, parts.rewards["relevance"], drawn))
            looks.setdefault(name, drawn.covers[: SHOWN * DRAWS : DRAWS])
        scenes = SCENES * count
        f1s.append((f1(judge, subjects, seed, scenes), f1(alone, subjects, seed, scenes) if alone else np.nan))
    if sheet is not None:
        page = [Row(name.replace("_", " "), "", [Cell(cover) for cover in covers]) for name, covers in looks.items()]
        contact_sheet(page, cell=128).save(sheet)
    table = {name: {key: _spread([r[key] for r in found]) for key in found[0]} for name, found in rows.items()}
    return _headline(table, np.array(f1s), rows), table


def _headline(
    table: Mapping[str, Mapping[str, Spread]], f1s: np.ndarray, rows: Mapping[str, Sequence[Mapping[str, float]]]
) -> dict[str, Spread | None]:
    def told(name: str, key: str) -> Spread | None:
        return table[name][key] if name in table else None

    def ratio(name: str) -> Spread | None:
        if name not in rows or "before" not in rows:
            return None
        return _spread([a["distance"] / b["distance"] for a, b in zip(rows[name], rows["before"], strict=True)])

    gain = _spread(list(f1s[:, 0] - f1s[:, 1])) if not np.isnan(f1s).any() else None
    values = (
        _spread(list(f1s[:, 0])), gain, told("before", "available"), told("cc", "available"), told("no_regulariser", "available"),
        ratio("cc"), ratio("no_regulariser"), told("before", "attempts"), told("cc", "attempts"),
    )  # fmt: skip
    return dict(zip(FIGURES, values, strict=True))


def _spread(values: Sequence[float]) -> Spread:
    return float(np.mean(values)), float(np.std(values))
