"""The share of product pictures that may be shown, before and after RFFT, and its cost: `icg evaluate reliability`.

Held-out products, several pictures of each. Availability by the checkpoint's RFNet, RFFT's reward, by a second one that RFFT never
used, and by rules without a network (`icg.reliability.rules`), so that an exploited RFNet shows.
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
from icg.compose.cover import placed
from icg.contact_sheet import Cell, Row, contact_sheet
from icg.data.art import Subject, load_subjects
from icg.draw.pipeline import CoverPipeline
from icg.errors import CheckpointError
from icg.evaluate.product_briefs import briefs, products, repeated
from icg.products.inpainting import Inpainter, planes
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
"""Held-out scenes a brief for RFNet's own F1: a few hundred scenes do not separate it from the network of the picture alone."""
BATCH, EXAMPLES = 16, 8
ENGINEERED = ", standing on the floor with its shadow, true to scale, before a plain wall of another colour"
FIGURES = ("rfnet_f1", "rfnet_f1_gain", "availability_before", "availability_cc", "availability_no_regulariser")
FIGURES += (
    "diversity_ratio_cc",
    "diversity_ratio_no_regulariser",
    "attempts_before",
    "attempts_after",
    "availability_studios",
)
Spread = tuple[float, float]
"""Mean and deviation over seeds."""


@dataclass(frozen=True)
class OtherNetworks:
    """Folders, None to leave one out. ControlNets: before RFFT, tuned without a regulariser, tuned with KL. Judges: one of the picture
    alone, and one that RFFT never used."""

    before: Path | None = None
    no_regulariser: Path | None = None
    kl: Path | None = None
    image_only: Path | None = None
    second: Path | None = None


@dataclass(frozen=True, eq=False)
class ProductCovers:
    """Covers of B briefs, DRAWS of each in a row, and their placed products."""

    briefs: list[Brief]
    covers: list[Image.Image]
    placed: list[Image.Image]


def draw(pipeline: CoverPipeline, each: Sequence[Brief]) -> ProductCovers:
    """Draw each brief with DRAWS seeds."""
    all_briefs = repeated(each, DRAWS)
    covers = [cover for i in range(0, len(all_briefs), BATCH) for cover in pipeline(all_briefs[i : i + BATCH])]
    return ProductCovers(all_briefs, covers, [placed(b, c) for b, c in zip(all_briefs, covers, strict=True)])


def available(judge: Judge, drawings: ProductCovers) -> np.ndarray:
    """(B, DRAWS) bool: whether the judge would show each cover. Captions are titles without ENGINEERED."""
    products = [b.product for b in drawings.briefs if b.product is not None]
    judgements = judge(drawings.covers, products, [b.title.removesuffix(ENGINEERED) for b in drawings.briefs])
    return np.array([judgement.available for judgement in judgements]).reshape(-1, DRAWS)


def figures(judge: Judge, second: Judge | None, relevance: Reward, drawings: ProductCovers) -> dict[str, float]:
    """The figures of one ControlNet's covers."""
    verdicts = available(judge, drawings)
    first = np.where(verdicts.any(1), verdicts.argmax(1) + 1, DRAWS)
    pictures = torch.cat([planes(c) for c in drawings.covers])
    by_rule = [exact(rules(c, p)) == 0 for c, p in zip(drawings.covers, drawings.placed, strict=True)]
    values = {
        "available": float(verdicts.mean()),
        "best_of_n": float(verdicts.any(1).mean()),
        "attempts": float(first.mean()),
        "available_by_rule": float(np.mean(by_rule)),
        "relevance": float(relevance(drawings.covers, drawings.briefs).mean()),
        "distance": float(distances(pictures, drawings.placed, DRAWS).mean()),
        "entropy": entropy(pictures, drawings.placed),
    }
    if second is not None:
        values["available_by_second"] = float(available(second, drawings).mean())
    return values


def validated(parts: Starter, subjects: Sequence[Subject], count: int) -> dict[str, float]:
    """Figures of what draws the checkpoint's scenes, for `count` briefs of validation products, by its own judge.

    Raises CheckpointError for a checkpoint without reliability/.
    """
    if parts.judge is None:
        raise CheckpointError(f"checkpoint={parts.name!r} without reliability/; allowed: one with it")
    valid = briefs(products(subjects, "valid"), count, np.random.default_rng(43))
    return figures(parts.judge, None, parts.rewards["relevance"], draw(parts.pipeline, valid))


def f1(judge: Judge, subjects: Sequence[Subject], seed: int, count: int) -> float:
    """F1 of "available" on new scenes of held-out products."""
    scenes = list(Scenes(subjects, held=True).stream(1_000 + seed, count))
    judgements = judge([s.picture for s in scenes], [s.product for s in scenes], [s.caption for s in scenes])
    probabilities = np.array([list(judgement.probabilities.values()) for judgement in judgements])
    return quality(probabilities, np.array([int(s.label) for s in scenes]), judge.threshold).f1


def measure(
    checkpoint: Path, art: Path, seeds: int, count: int, compared: OtherNetworks, sheet: Path | None = None
) -> tuple[dict[str, Spread | None], dict[str, dict[str, Spread]]]:
    """FIGURES, None for those whose folder is None; and a table: kind of pictures -> figure -> mean and deviation.

    count: briefs a seed. sheet: file for a contact sheet of each kind's first covers. Raises CheckpointError for a checkpoint without
    controlnet/ or reliability/.
    """
    subjects = load_subjects(art)
    parts = starter.load(checkpoint)
    pipeline, judge, inpainter = parts.pipeline, parts.judge, parts.pipeline.inpainter
    if judge is None or inpainter is None:
        raise CheckpointError(f"checkpoint={str(checkpoint)!r}; allowed: one with controlnet/ and reliability/")
    second = Judge.from_pretrained(compared.second) if compared.second else None
    alone = Judge.from_pretrained(compared.image_only) if compared.image_only else None
    whole = pipeline.whole()
    drawers = {"studios": pipeline} if pipeline.drawer(True).adapter.studios is not None else {}
    nets = {"cc": inpainter} | {
        name: Inpainter.from_pretrained(folder, pipeline.family)
        for name in ("before", "no_regulariser", "kl")
        if (folder := getattr(compared, name)) is not None
    }
    rows: dict[str, list[dict[str, float]]] = {
        name: [] for name in (*drawers, *nets, *(["engineered"] if "before" in nets else []))
    }
    f1s: list[tuple[float, float]] = []
    looks: dict[str, list[Image.Image]] = {}
    for seed in range(seeds):
        held = briefs(products(subjects, "held"), count, np.random.default_rng((seed, 41)))
        engineered = [replace(b, title=b.title + ENGINEERED) for b in held]
        for name, row in rows.items():
            whole.inpainter = nets.get("before" if name == "engineered" else name)
            drawings = draw(drawers.get(name, whole), engineered if name == "engineered" else held)
            row.append(figures(judge, second, parts.rewards["relevance"], drawings))
            looks.setdefault(name, drawings.covers[: EXAMPLES * DRAWS : DRAWS])
        scenes = SCENES * count
        f1s.append((f1(judge, subjects, seed, scenes), f1(alone, subjects, seed, scenes) if alone else np.nan))
    if sheet is not None:
        page = [Row(name.replace("_", " "), "", [Cell(cover) for cover in covers]) for name, covers in looks.items()]
        contact_sheet(page, cell=128).save(sheet)
    table = {name: {key: _spread([r[key] for r in row]) for key in row[0]} for name, row in rows.items()}
    return _headline(table, np.array(f1s), rows), table


def _headline(
    table: Mapping[str, Mapping[str, Spread]], f1s: np.ndarray, rows: Mapping[str, Sequence[Mapping[str, float]]]
) -> dict[str, Spread | None]:
    def entry(name: str, key: str) -> Spread | None:
        return table[name][key] if name in table else None

    def ratio(name: str) -> Spread | None:
        if name not in rows or "before" not in rows:
            return None
        return _spread([a["distance"] / b["distance"] for a, b in zip(rows[name], rows["before"], strict=True)])

    gain = _spread(list(f1s[:, 0] - f1s[:, 1])) if not np.isnan(f1s).any() else None
    f1_spread, ratios = _spread(list(f1s[:, 0])), (ratio("cc"), ratio("no_regulariser"))
    availability = [entry(name, "available") for name in ("before", "cc", "no_regulariser")]
    values = (f1_spread, gain, *availability, *ratios, entry("before", "attempts"), entry("cc", "attempts"))
    values += (entry("studios", "available"),)
    return dict(zip(FIGURES, values, strict=True))


def _spread(values: Sequence[float]) -> Spread:
    return float(np.mean(values)), float(np.std(values))
