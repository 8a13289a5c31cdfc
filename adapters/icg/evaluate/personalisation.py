"""Whether covers are personal: figures of a folder of the starter's layout on held-out users and titles, over seeds, with controls.

The code of `icg evaluate personalisation`. Users are SIMULATED; titles are recognised by the folder's own dual encoder and optionally by
a second one that was trained independently, so that the first does not rate its own work. Briefs are those of the services for an item
with a picture: its title and that picture. Figures of other kinds of briefs carry the kind's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from icg import starter
from icg.adapter.model import IcgAdapter
from icg.brief import Brief
from icg.compose.choice import preferred_first
from icg.data.art import CATEGORIES, STYLES, Subject, load_subjects, on_white
from icg.data.bank import AXIS_NAMES, Bank, build
from icg.data.behaviour import population, simulate
from icg.draw.ask import anchoring
from icg.draw.pipeline import CoverPipeline
from icg.evaluate import alike, grounds
from icg.evaluate.judges import draw, personalisation, retrieval
from icg.evaluate.looks import LookJudge, plain_features
from icg.evaluate.preference import ClickPairs, curve
from icg.evaluate.reward_hacking import diversity
from icg.models.dual import DualEncoder
from icg.models.joint import JointEmbedding
from icg.users.cold_start import TasteMixture
from icg.users.encoder import UserEncoder

AMONG = 100
"""Titles among which each cover's title is searched."""
KINDS = {
    "": (True, 1, True, 1),
    "_title_only": (True, 0, False, 1),
    "_four_references": (True, 4, True, 1),
    "_reference_only": (False, 1, True, 1),
    "_two_references": (True, 2, True, 1),
    "_read_only": (True, 1, False, 1),
    "_best_of_4": (True, 1, True, 4),
}
"""Kinds of briefs: (with title, number of pictures, anchored in the first picture, draws, of which the most relevant is kept)."""
KEYS = ("title_top5_seen", "title_top5_unseen", "own_over_swapped", "shuffled_control", "dispersion_ratio")
KEYS += ("preference_unseen_users", "diversity_ratio")


@dataclass(frozen=True)
class OtherAdapters:
    """Other adapter folders: `without` was trained without the dispersion term, `before` is from before alignment."""

    without: Path | None = None
    before: Path | None = None


def measure(
    root: Path,
    art: Path,
    seeds: int = 3,
    count: int = AMONG,
    compared: OtherAdapters | None = None,
    second: Path | None = None,
    ablations: bool = False,
) -> dict[str, dict[str, float] | None]:
    """{figure: {"mean", "deviation"} over seeds}, None for a figure whose folder is None.

    count: covers a figure. second: folder of a dual encoder that also recognises titles (`..._second`). ablations: all kinds of
    briefs; otherwise the default one, the title alone and a choice of four pictures.
    """
    subjects = load_subjects(art)
    parts = starter.load(root)
    judges = {"": parts.embedding}
    if second is not None:
        embedding = parts.embedding
        judges["_second"] = JointEmbedding(embedding.space, DualEncoder.from_pretrained(second))
    kinds = list(KINDS) if ablations else list(KINDS)[:3]
    others = compared or OtherAdapters()
    rounds = [measure_seed(parts, root, subjects, seed, count, others, judges, kinds) for seed in range(seeds)]
    names = dict.fromkeys([*KEYS, *(name for figures in rounds for name in figures)])
    return {
        name: {"mean": float(np.mean(values)), "deviation": float(np.std(values))} if values else None
        for name, values in ((name, [figures[name] for figures in rounds if name in figures]) for name in names)
    }


def measure_seed(
    parts: starter.Starter,
    root: Path,
    subjects: list[Subject],
    seed: int,
    count: int,
    compared: OtherAdapters,
    judges: dict[str, JointEmbedding],
    kinds: Sequence[str] = ("",),
    simulated: int = 1500,
) -> dict[str, float]:
    """All figures of one seed; `simulated` covers for the behaviour of a fifth as many users."""
    rng = np.random.default_rng((seed, 7))
    groups = {
        name: [int(i) for i in rng.permutation([i for i, s in enumerate(subjects) if s.held_out == held])][:count]
        for name, held in (("seen", False), ("unseen", True))
    }
    trained = [i for i, s in enumerate(subjects) if not s.held_out]
    themes = np.array([CATEGORIES.index(s.category) for s in subjects])
    bank = build(subjects, simulated, 201 + seed, 1, trained)
    covers = parts.embedding.covers([Image.fromarray(i) for i in bank.images])
    looks = {
        "": LookJudge(lambda images: parts.embedding.features(images).numpy(), bank),
        "_independent": LookJudge(plain_features, bank, 100.0),
    }
    out = dict[str, float]()
    chosen = [subjects[i] for i in groups["seen"]]
    for name, rows in groups.items():
        titles = [subjects[i].title for i in rows]
        among = titles + [subjects[i].title for i in rng.permutation(trained) if i not in rows][: AMONG - len(rows)]
        users = covers[rng.integers(0, len(covers), len(rows))]
        real = build(subjects, len(rows), 401 + seed, 1, rows)
        images = {"_real": [Image.fromarray(i) for i in real.images]}
        for judge, read in looks.items():
            right = (read(images["_real"]) == real.look).mean(0)
            out |= {f"read_{axis}_{name}{judge}": float(value) for axis, value in zip(AXIS_NAMES, right, strict=True)}
        true_titles = {"_real": [subjects[i].title for i in real.subject]}
        for kind in kinds:
            briefs = [
                brief(parts, kind, subjects[i], u, seed * 10_000 + n)
                for n, (i, u) in enumerate(zip(rows, users, strict=True))
            ]
            images[kind], true_titles[kind] = draw(parts, briefs, KINDS[kind][-1]), titles
            if not kind:
                styles = [STYLES[b.seed % len(STYLES)] for b in briefs]
                if looks := alike.looks(parts.pipeline, briefs, images[kind], styles):
                    images["_alike"] = alike.real(looks, [subjects[i] for i in rows])
                    images["_real_ground"] = alike.on_real_grounds(
                        looks, [*map(parts.pipeline.prepared, briefs)], images[kind]
                    )
                    true_titles |= {"_alike": titles, "_real_ground": titles}
                out[f"pattern_around_{name}"] = grounds.whole(images[kind], briefs)
        for judge, embedding in judges.items():
            for kind, drawings in images.items():
                top5 = retrieval(embedding, drawings, true_titles[kind], among)["top5"]
                out[f"title_top5_{name}{kind}{judge}"] = top5
    for kind in kinds:
        figures = personalisation(
            parts, looks, bank, chosen, themes, partial(brief, parts, kind), seed, KINDS[kind][-1]
        )
        # The users of all kinds are the same, so their histories are told once.
        once = ("history_", "readable_")
        out |= {f"{name}{kind}": value for name, value in figures.items() if not (kind and name.startswith(once))}
    out |= grounds.measure(parts.pipeline, looks["_independent"], bank, covers, len(chosen), seed)
    if (root / "users").is_dir():
        out |= unseen_users(parts, root / "users", subjects, bank, covers, themes, seed)
    pairs = covers[rng.integers(0, len(covers), (len(chosen), 2))]
    briefs = [
        brief(parts, "_title_only", s, u, n) for n, (s, p) in enumerate(zip(chosen, pairs, strict=True)) for u in p
    ]
    current = draw(parts, briefs)
    for name, folder in (("dispersion_ratio", compared.without), ("diversity_ratio", compared.before)):
        if folder is not None:
            other = draw(replace(parts, pipeline=with_adapter(parts.pipeline, folder)), briefs)
            distances = [spread(parts.embedding, covers, name) for covers in (current, other)]
            out[name] = distances[0] / max(distances[1], 1e-9)
    return out


def brief(parts: starter.Starter, kind: str, subject: Subject, user: np.ndarray, seed: int) -> Brief:
    """A brief of one of KINDS. Of several pictures the one that the user prefers is the anchor, as in the services."""
    with_title, count, anchored, _ = KINDS[kind]
    styles = [STYLES[(seed + n) % len(STYLES)] for n in range(count)]
    pictures = tuple(on_white(subject.sprites[style]) for style in styles)
    if count > 1:
        pictures = tuple(preferred_first(pictures, user, [*parts.embedding.covers([*pictures])], parts.affinity))
    anchor = anchoring(pictures, None if anchored else 0.0)
    knobs = parts.pipeline.settings.knobs(around=anchored) | anchor
    return Brief(subject.title if with_title else "", pictures, user, seed=seed, **knobs)


def spread(embedding: JointEmbedding, covers: list[Image.Image], kind: str) -> float:
    """Mean distance between the covers of each item's two users (dispersion), or between all covers (diversity)."""
    if kind == "diversity_ratio":
        return diversity(embedding.features(covers).numpy())
    looks = embedding.covers(covers)
    return float((1 - (looks[::2] * looks[1::2]).sum(1)).mean())


def with_adapter(pipeline: CoverPipeline, folder: Path) -> CoverPipeline:
    """The same models with another adapter."""
    return CoverPipeline(pipeline.vlm, pipeline.processor, pipeline.diffusion, IcgAdapter.from_pretrained(folder))


def unseen_users(
    parts: starter.Starter,
    folder: Path,
    subjects: list[Subject],
    bank: Bank,
    covers: np.ndarray,
    themes: np.ndarray,
    seed: int,
) -> dict[str, float]:
    """Pairwise accuracy of preference for new users on covers of unseen subjects, of its baselines and of its control."""
    rng = np.random.default_rng((seed, 8))
    other = build(subjects, max(60, len(bank) // 4), 301 + seed, 1, [i for i, s in enumerate(subjects) if s.held_out])
    unseen = parts.embedding.covers([Image.fromarray(i) for i in other.images])
    log, last = simulate(population(len(bank) // 5, rng), bank.look, themes[bank.subject], 60, rng)
    pairs = ClickPairs.draw(last, unseen, other.look, themes[other.subject], rng)
    encoder, mixture = UserEncoder.from_pretrained(folder), TasteMixture.from_pretrained(folder)
    accuracy = curve(encoder, mixture, log, covers, pairs, covers.mean(0))
    names = {"preference_unseen_users": "mixture", "preference_mean": "mean", "preference_nearest": "nearest"}
    names |= {"preference_shuffled": "shuffled"}
    return {key: list(accuracy[name].values())[-1] for key, name in names.items()}
