"""Measures a starter folder: are covers recognisable, and do they suit their user? Numbers for the model card.

Judges are our own small models, so each figure stands beside what the same judge says of real composed covers and
beside a control. Users are SIMULATED. Knows nothing about how the folder was trained.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from icg import starter
from icg.brief import Brief
from icg.data import tastes
from icg.data.art import CATEGORIES, STYLES, Subject, load_subjects, on_white
from icg.data.bank import AXES, AXIS_NAMES, Bank, build
from icg.embedding import JointEmbedding
from icg.train.autoencoder import psnr
from icg.users import user_embedding


def retrieval(
    embedding: JointEmbedding, images: list[Image.Image], titles: list[str], pool_of: list[str]
) -> dict[str, float]:
    """How often the true title is first, or among the first five, of `pool_of`."""
    texts = embedding.texts(pool_of)
    scores = embedding.images(images) @ texts.T
    true = scores[np.arange(len(titles)), [pool_of.index(t) for t in titles]]
    rank = (scores > true[:, None]).sum(1)
    return {"top1": float((rank == 0).mean()), "top5": float((rank < 5).mean()), "of": len(pool_of)}


class LookJudge:
    """Ridge probes from the embedding's tower features to each axis of a look, fitted on composed covers."""

    def __init__(self, embedding: JointEmbedding, bank: Bank, strength: float = 10.0) -> None:
        self.embedding = embedding
        x = embedding.features([Image.fromarray(i) for i in bank.images]).numpy().astype(np.float64)
        self.mean, self.scale = x.mean(0), x.std(0) + 1e-6
        x = self._ready(x)
        gram = x.T @ x + strength * np.eye(x.shape[1])
        self.maps = [np.linalg.solve(gram, x.T @ np.eye(len(axis))[bank.look[:, a]]) for a, axis in enumerate(AXES)]

    def __call__(self, images: list[Image.Image]) -> np.ndarray:
        """(N, 4) indices into AXES."""
        x = self._ready(self.embedding.features(images).numpy().astype(np.float64))
        return np.stack([(x @ m).argmax(1) for m in self.maps], 1)

    def _ready(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([(x - self.mean) / self.scale, np.ones((len(x), 1))], 1)


def preference_ranking(embedding: JointEmbedding, bank: Bank, other: Bank, themes: np.ndarray, seed: int = 0) -> dict:
    """Pairwise accuracy on covers of unseen subjects for new SIMULATED users, after 3 and 10 engaged covers."""
    rng = np.random.default_rng(seed)
    people = tastes.sample(300, rng)
    history = embedding.covers([Image.fromarray(i) for i in bank.images])
    asked = embedding.covers([Image.fromarray(i) for i in other.images])
    truth = people.utility(other.look, themes[other.subject])
    a, b = rng.integers(0, len(other), (2, 300, 300))
    rows = np.arange(300)[:, None]
    better = truth[rows, a] > truth[rows, b]
    out: dict[str, float] = {}
    for count in (3, 10):
        picked = tastes.engaged(people.utility(bank.look, themes[bank.subject]), count, rng)
        users = np.stack([user_embedding(history[p], np.ones(count)) for p in picked])
        nearest = (history[picked] @ asked.T).max(1)
        for name, scores in (
            ("mean", users @ asked.T),
            ("nearest", nearest),
            ("shuffled", np.roll(users, 1, 0) @ asked.T),
        ):
            out[f"{name}_{count}"] = float(((scores[rows, a] > scores[rows, b]) == better).mean())
    return out


def personalisation(
    parts: starter.Starter,
    judge: LookJudge,
    bank: Bank,
    subjects: list[Subject],
    themes: np.ndarray,
    steps: int,
    strength: float = 0.0,
    seed: int = 0,
) -> dict:
    """Does a SIMULATED user's true taste prefer the cover made for them over the one made for someone else?"""
    rng = np.random.default_rng(seed)
    people = tastes.sample(len(subjects), rng)
    picked = tastes.engaged(people.utility(bank.look, themes[bank.subject]), 8, rng)
    covers = parts.embedding.covers([Image.fromarray(i) for i in bank.images])
    users = [user_embedding(covers[p], np.ones(8)) for p in picked]
    pictures = [(on_white(s.sprites[STYLES[k % 4]]),) if strength else () for k, s in enumerate(subjects)]
    rest = {"steps": steps, "reference_strength": strength}
    triples = enumerate(zip(subjects, pictures, users, strict=True))
    briefs = [Brief(s.title, p, u, seed=i, **rest) for i, (s, p, u) in triples]
    made = draw(parts, briefs)
    looks = judge(made)
    none = np.zeros(len(looks), int)
    weights = people.weights.copy()
    weights[:, -len(CATEGORIES) :] = 0
    worth = tastes.Tastes(weights, people.favourite).utility(looks, none)
    own, swapped = np.diag(worth), worth[np.arange(len(looks)), np.roll(np.arange(len(looks)), 1)]
    other = np.roll(worth, 2, 0)
    control = (
        other[np.arange(len(looks)), np.arange(len(looks))]
        > other[np.arange(len(looks)), np.roll(np.arange(len(looks)), 1)]
    )
    hits = {f"favourite_{n}": float((looks[:, a] == people.favourite[:, a]).mean()) for a, n in enumerate(AXIS_NAMES)}
    prefer = float((parts.embedding.covers(made) * np.stack(users)).sum(1).mean())
    wins = float((own > swapped).mean() + 0.5 * (own == swapped).mean())
    return {"own_beats_swapped": wins, "shuffled_control": float(control.mean()), "preference_reward": prefer, **hits}


def draw(parts: starter.Starter, briefs: list[Brief], batch: int = 16) -> list[Image.Image]:
    """Run the pipeline in batches."""
    return [image for i in range(0, len(briefs), batch) for image in parts.pipeline(briefs[i : i + batch])]


def evaluate(root: Path, subjects: list[Subject], steps: int = 8, count: int = 100, seed: int = 0) -> dict:
    """All numbers of the model card."""
    parts = starter.load(root)
    rng = np.random.default_rng(seed)
    seen = [i for i, s in enumerate(subjects) if not s.held_out]
    unseen = [i for i, s in enumerate(subjects) if s.held_out]
    themes = np.array([CATEGORIES.index(s.category) for s in subjects])
    real = {"seen": build(subjects, 1500, 101, 1, seen), "unseen": build(subjects, 500, 102, 1, unseen)}
    judge = LookJudge(parts.embedding, real["seen"])
    out: dict[str, object] = {"steps": steps}
    out["autoencoder_psnr_unseen"] = psnr(parts.pipeline.diffusion.vae.float(), real["unseen"].images[:128])
    check = judge([Image.fromarray(i) for i in real["unseen"].images]) == real["unseen"].look
    out["judge_look_accuracy_unseen"] = {n: float(check[:, a].mean()) for a, n in enumerate(AXIS_NAMES)}
    for name, group in (("seen", seen), ("unseen", unseen)):
        asked = [int(i) for i in rng.permutation(group)[:count]]
        among = [subjects[i].title for i in (asked + [j for j in rng.permutation(seen) if j not in asked])[:count]]
        titles = [subjects[i].title for i in asked]
        covers = [real[name].images[np.flatnonzero(real[name].subject == i)[0]] for i in asked]
        whites = [on_white(subjects[i].sprites[STYLES[k % 4]]) for k, i in enumerate(asked)]
        users = parts.embedding.covers([Image.fromarray(real["seen"].images[k]) for k in range(len(asked))])
        rows = list(zip(titles, users, whites, strict=True))
        title_only = [Brief(t, (), u, seed=k, steps=steps) for k, (t, u, _) in enumerate(rows)]
        both = [Brief(t, (w,), u, seed=k, steps=steps) for k, (t, u, w) in enumerate(rows)]
        anchored = [replace(b, reference_strength=starter.REFERENCE_STRENGTH) for b in both]
        out[f"retrieval_{name}"] = {
            "real_covers": retrieval(parts.embedding, [Image.fromarray(c) for c in covers], titles, among),
            "title": retrieval(parts.embedding, draw(parts, title_only), titles, among),
            "title_and_reference": retrieval(parts.embedding, draw(parts, both), titles, among),
            "anchored": retrieval(parts.embedding, draw(parts, anchored), titles, among),
        }
    out["preference_ranking"] = preference_ranking(parts.embedding, real["seen"], real["unseen"], themes)
    chosen = [subjects[int(i)] for i in rng.permutation(seen)[:count]]
    out["personalisation"] = personalisation(parts, judge, real["seen"], chosen, themes, steps)
    strength = starter.REFERENCE_STRENGTH
    out["personalisation_anchored"] = personalisation(parts, judge, real["seen"], chosen, themes, steps, strength)
    return out


def main() -> None:
    """Command line: prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=starter.path())
    parser.add_argument("--art", type=Path, required=True, help="a node_modules folder with the emoji packages")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--count", type=int, default=60, help="subjects, and simulated users, a figure")
    given = parser.parse_args()
    print(json.dumps(evaluate(given.root, load_subjects(given.art), given.steps, given.count), indent=2))


if __name__ == "__main__":
    main()
