"""Does it personalise? The figures of a starter folder on held-out users and titles, over seeds, each with its control.

Behind `eyecatch evaluate personalisation`. Users are SIMULATED; titles are found by the folder's own joint embedding and, when
one is given, by a second one that was trained apart, so that the first does not mark its own work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from icg import starter
from icg.adapter import IcgAdapter
from icg.brief import Brief
from icg.cold_start import TasteMixture
from icg.data.art import CATEGORIES, Subject, load_subjects
from icg.data.bank import Bank, build
from icg.data.behaviour import population, simulate
from icg.embedding import JointEmbedding
from icg.pipeline import CoverPipeline
from icg.train.evaluate import LookJudge, draw, personalisation, retrieval
from icg.train.preference import Pairs, curve
from icg.train.watch import diversity
from icg.user_encoder import UserEncoder

AMONG = 100
"""Titles each cover is looked up in."""
KEYS = (
    "title_top5_seen", "title_top5_unseen", "own_over_swapped", "shuffled_control", "dispersion_ratio",
    "preference_unseen_users", "diversity_ratio",
)  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """Other adapter folders: `without` was trained without the dispersion term, `before` is from before alignment."""

    without: Path | None = None
    before: Path | None = None


def measure(
    root: Path,
    art: Path,
    seeds: int = 3,
    count: int = AMONG,
    compared: Compared | None = None,
    second: Path | None = None,
) -> dict[str, dict[str, float] | None]:
    """{figure: {"mean", "deviation"} over seeds}, None where it needs a folder that was not given.

    count: covers a figure. second: a starter-shaped folder whose joint embedding judges titles too (`..._second`).
    """
    subjects = load_subjects(art)
    parts = starter.load(root)
    judges = {"": parts.embedding} | ({"_second": JointEmbedding.from_pretrained(second)} if second else {})
    rounds = [one(parts, root, subjects, seed, count, compared or Compared(), judges) for seed in range(seeds)]
    names = dict.fromkeys([*KEYS, *(name for found in rounds for name in found)])
    return {
        name: {"mean": float(np.mean(values)), "deviation": float(np.std(values))} if values else None
        for name, values in ((name, [found[name] for found in rounds if name in found]) for name in names)
    }


def one(
    parts: starter.Starter, root: Path, subjects: list[Subject], seed: int, count: int, compared: Compared,
    judges: dict[str, JointEmbedding], simulated: int = 1500,
) -> dict[str, float]:  # fmt: skip
    """All figures of one seed; a fifth as many users behave on `simulated` covers."""
    rng = np.random.default_rng((seed, 7))
    groups = {
        name: [int(i) for i in rng.permutation([i for i, s in enumerate(subjects) if s.held_out == held])][:count]
        for name, held in (("seen", False), ("unseen", True))
    }
    seen = [i for i, s in enumerate(subjects) if not s.held_out]
    themes = np.array([CATEGORIES.index(s.category) for s in subjects])
    bank = build(subjects, simulated, 201 + seed, 1, seen)
    covers = parts.embedding.covers([Image.fromarray(i) for i in bank.images])
    out: dict[str, float] = {}
    for name, asked in groups.items():
        titles = [subjects[i].title for i in asked]
        among = titles + [subjects[i].title for i in rng.permutation(seen) if i not in asked][: AMONG - len(asked)]
        users = covers[rng.integers(0, len(covers), len(asked))]
        briefs = [Brief(t, (), u, seed=seed * 10_000 + n) for n, (t, u) in enumerate(zip(titles, users, strict=True))]
        made = draw(parts, briefs)
        for judge, embedding in judges.items():
            out[f"title_top5_{name}{judge}"] = retrieval(embedding, made, titles, among)["top5"]
    chosen = [subjects[i] for i in groups["seen"]]
    found = personalisation(parts, LookJudge(parts.embedding, bank), bank, chosen, themes, 8, seed=seed)
    out |= {"own_over_swapped": found["own_beats_swapped"], "shuffled_control": found["shuffled_control"]}
    out |= {"preference_reward": found["preference_reward"]}
    if (root / "users").is_dir():
        out |= unseen_users(parts, root / "users", subjects, bank, covers, themes, seed)
    pairs = covers[rng.integers(0, len(covers), (len(chosen), 2))]
    briefs = [Brief(s.title, (), u, seed=n) for n, (s, p) in enumerate(zip(chosen, pairs, strict=True)) for u in p]
    here = draw(parts, briefs)
    for name, folder in (("dispersion_ratio", compared.without), ("diversity_ratio", compared.before)):
        if folder is not None:
            there = draw(replace(parts, pipeline=with_adapter(parts.pipeline, folder)), briefs)
            far = [spread(parts.embedding, covers, name) for covers in (here, there)]
            out[name] = far[0] / max(far[1], 1e-9)
    return out


def spread(embedding: JointEmbedding, covers: list[Image.Image], kind: str) -> float:
    """Mean distance between the two users' covers of each item (dispersion), or between all covers (diversity)."""
    if kind == "diversity_ratio":
        return diversity(embedding.features(covers).numpy())
    looks = embedding.covers(covers)
    return float((1 - (looks[::2] * looks[1::2]).sum(1)).mean())


def with_adapter(pipeline: CoverPipeline, folder: Path) -> CoverPipeline:
    """The same models with another adapter between them."""
    return CoverPipeline(pipeline.vlm, pipeline.processor, pipeline.diffusion, IcgAdapter.from_pretrained(folder))


def unseen_users(
    parts: starter.Starter, folder: Path, subjects: list[Subject], bank: Bank, covers: np.ndarray, themes: np.ndarray, seed: int
) -> dict[str, float]:  # fmt: skip
    """Pairwise accuracy of preference for new users on covers of unseen subjects, and of its baselines and control."""
    rng = np.random.default_rng((seed, 8))
    other = build(subjects, max(60, len(bank) // 4), 301 + seed, 1, [i for i, s in enumerate(subjects) if s.held_out])
    asked = parts.embedding.covers([Image.fromarray(i) for i in other.images])
    log, last = simulate(population(len(bank) // 5, rng), bank.look, themes[bank.subject], 60, rng)
    pairs = Pairs.draw(last, asked, other.look, themes[other.subject], rng)
    encoder, mixture = UserEncoder.from_pretrained(folder), TasteMixture.from_pretrained(folder)
    found = curve(encoder, mixture, log, covers, pairs, covers.mean(0))
    names = {"preference_unseen_users": "mixture", "preference_mean": "mean", "preference_nearest": "nearest"}
    names |= {"preference_shuffled": "shuffled"}
    return {key: list(found[name].values())[-1] for key, name in names.items()}
