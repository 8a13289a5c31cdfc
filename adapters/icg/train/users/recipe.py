"""Recipe 8: user encoder and cold start, and thereby preference, from SIMULATED behaviour on composed covers.

    icg train users --art node_modules --out runs/behaviour [--seeds 3] [--smoke]

Cover embeddings are those of the shipped starter. For real behaviour make an icg.data.behaviour.Log of it and call
icg.train.users.encoder.run. Knows no service.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from icg import starter
from icg.data.art import CATEGORIES, Subject, load_subjects
from icg.data.bank import Bank, load_or_build
from icg.data.behaviour import ENGAGED, population, simulate
from icg.evaluate.preference import KNOWN, Pairs, curve
from icg.models.joint import JointEmbedding
from icg.train.flags import Flags
from icg.train.loop import Fit
from icg.train.users.encoder import run
from icg.users.cold_start import TasteMixture
from icg.users.examples import embeddings, examples

CLUSTERS, SHARPNESS, TRUST = 128, 3.0, 3.0


@dataclass(frozen=True)
class Sizes:
    """How much is simulated and how long is trained."""

    covers: int
    users: int
    lists: int
    judges: int
    fit: Fit


FULL = Sizes(24_000, 6_000, 60, 400, Fit(steps=3_000, lr=4e-3, batch=96, save_every=1_000))
SMOKE = Sizes(120, 80, 20, 20, Fit(steps=20, lr=4e-3, batch=16, warmup=5, save_every=10))


def recipe(folder: Path, subjects: list[Subject], sizes: Sizes, seeds: int, workers: int = 2) -> dict[str, object]:
    """Simulate, train and judge for each seed; the first seed's encoder and mixture are left in `folder`/final.

    Covers of training users show seen subjects, the covers judges are asked about unseen ones. Returns, and saves beside
    the weights, accuracy by ranking and number of known events: mean and standard deviation over seeds.
    """
    seen = [i for i, s in enumerate(subjects) if not s.held_out]
    unseen = [i for i, s in enumerate(subjects) if s.held_out]
    themes = np.array([CATEGORIES.index(s.category) for s in subjects])
    bank = load_or_build(folder / "bank.npz", subjects, sizes.covers, 0, seen, workers)
    other = load_or_build(folder / "bank_heldout.npz", subjects, max(sizes.covers // 12, 60), 1, unseen, workers)
    reader = JointEmbedding.from_pretrained(starter.path())
    covers, asked = (embed(reader, part, folder / f"{n}.npy") for n, part in (("covers", bank), ("asked", other)))
    curves = []
    for seed in range(seeds):
        rng = np.random.default_rng((seed, 1))
        log, _ = simulate(population(sizes.users, rng), bank.look, themes[bank.subject], sizes.lists, rng)
        encoder = run(folder / f"seed{seed}", log, covers, replace(sizes.fit, seed=seed))
        given, users = examples(log, rng), np.arange(sizes.users)[:2_000]
        own = embeddings(encoder, given, users, np.diff(given.start)[users], covers)
        mixture = TasteMixture.fit(own, min(CLUSTERS, len(own)), SHARPNESS, TRUST, seed)
        popular = covers[log.cover[np.isin(log.action, ENGAGED)]].mean(0)
        rng = np.random.default_rng((seed, 2))
        new, last = simulate(population(sizes.judges, rng), bank.look, themes[bank.subject], sizes.lists, rng)
        pairs = Pairs.draw(last, asked, other.look, themes[other.subject], rng)
        curves.append(curve(encoder, mixture, new, covers, pairs, popular))
        if seed == 0:
            encoder.save_pretrained(folder / "final")
            mixture.save_pretrained(folder / "final")
    found = {
        name: {
            str(k): [round(float(f([list(c[name].values())[n] for c in curves])), 4) for f in (np.mean, np.std)]
            for n, k in enumerate((*KNOWN, "all"))
        }
        for name in curves[0]
    }
    result: dict[str, object] = {"seeds": seeds, "sizes": asdict(sizes), "accuracy": found}
    (folder / "final" / "evaluation.json").write_text(json.dumps(result, indent=2))
    return result


def embed(reader: JointEmbedding, bank: Bank, path: Path) -> np.ndarray:
    """(N, D) cover embeddings, kept at `path`."""
    if not path.exists():
        parts = [
            reader.covers([Image.fromarray(i) for i in bank.images[k : k + 256]]) for k in range(0, len(bank), 256)
        ]
        np.save(path, np.concatenate(parts))
    return np.load(path)


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train users`."""
    parser = Flags(__name__, __doc__, art="needed", seeds=3)
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    result = recipe(given.out, load_subjects(given.art), SMOKE if given.smoke else FULL, given.seeds)
    print(json.dumps(result))
