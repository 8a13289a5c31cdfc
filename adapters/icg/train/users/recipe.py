"""Recipe 8: user encoder and cold start, and thereby preference, from behaviour.

    icg train users --data shop --checkpoint mine --out runs/users [--seeds 3]
    icg train users --events events.csv [--items items.csv] --out runs/users [--seeds 3]
    icg train users --art node_modules --out runs/behaviour [--seeds 3] [--smoke]

--data: a catalogue with its events, as `eyecatch export` writes them, in the cover space of CHECKPOINT; writes OUT/users for
`icg assemble`, with its accuracy on users held out. --events: any table of events or ratings; writes OUT/sequence, an encoder that ranks
items, with its recall of what users did last. --art: SIMULATED behaviour on composed covers, as the starter's was. Knows no service.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from icg import starter
from icg.data import tastes
from icg.data.art import CATEGORIES, Subject, load_subjects
from icg.data.bank import Bank, load_or_build
from icg.data.behaviour import ENGAGED, population, simulate, thinned
from icg.evaluate.preference import KNOWN, ClickPairs, curve
from icg.models.joint import JointEmbedding
from icg.train.flags import Flags
from icg.train.loop import Fit
from icg.train.users import events, own
from icg.train.users.encoder import run
from icg.users.cold_start import TasteMixture
from icg.users.examples import embeddings, examples

CLUSTERS, SHARPNESS, TRUST = 128, 3.0, 3.0


@dataclass(frozen=True)
class BehaviourSizes:
    """Sizes of the simulation, and the training's length."""

    covers: int
    users: int
    lists: int
    judges: int
    fit: Fit


FULL = BehaviourSizes(24_000, 6_000, 60, 400, Fit(steps=3_000, lr=4e-3, batch=96, save_every=1_000))
OWN = Fit(steps=600, lr=2e-3, batch=48, save_every=300)
SMOKE = BehaviourSizes(120, 80, 20, 20, Fit(steps=20, lr=4e-3, batch=16, warmup=5, save_every=10))


def recipe(
    folder: Path, subjects: list[Subject], sizes: BehaviourSizes, seeds: int, workers: int = 2
) -> dict[str, object]:
    """Simulate, train and evaluate for each seed; writes the first seed's encoder and mixture to `folder`/final.

    Training users see covers of training subjects, evaluation uses covers of unseen ones, and users among whom looks are popular that
    were not popular in training. Returns, and writes to the same folder, accuracy
    by ranking and number of known events: mean and standard deviation over seeds.
    """
    trained = [i for i, s in enumerate(subjects) if not s.held_out]
    unseen = [i for i, s in enumerate(subjects) if s.held_out]
    themes = np.array([CATEGORIES.index(s.category) for s in subjects])
    bank = load_or_build(folder / "bank.npz", subjects, sizes.covers, 0, trained, workers)
    other = load_or_build(folder / "bank_heldout.npz", subjects, max(sizes.covers // 12, 60), 1, unseen, workers)
    reader = JointEmbedding.from_pretrained(starter.path())
    covers, candidates = (embed(reader, part, folder / f"{n}.npy") for n, part in (("covers", bank), ("asked", other)))
    curves = []
    for seed in range(seeds):
        rng = np.random.default_rng((seed, 1))
        # No look is popular among them: what was popular here says nothing about another catalogue.
        log, _ = simulate(tastes.sample(sizes.users, rng), bank.look, themes[bank.subject], sizes.lists, rng)
        log = thinned(log, rng)
        encoder = run(folder / f"seed{seed}", log, covers, replace(sizes.fit, seed=seed))
        histories, users = examples(log, rng), np.arange(sizes.users)[:2_000]
        encoded = embeddings(encoder, histories, users, np.diff(histories.start)[users], covers)
        mixture = TasteMixture.fit(encoded, min(CLUSTERS, len(encoded)), SHARPNESS, TRUST, seed)
        popular = covers[log.cover[np.isin(log.action, ENGAGED)]].mean(0)
        rng = np.random.default_rng((seed, 2))
        judges = population(sizes.judges, rng, seed=100 + seed)
        new, last = simulate(judges, bank.look, themes[bank.subject], sizes.lists, rng)
        pairs = ClickPairs.draw(last, candidates, other.look, themes[other.subject], rng)
        curves.append(curve(encoder, mixture, new, covers, pairs, popular))
        if seed == 0:
            encoder.save_pretrained(folder / "final")
            mixture.save_pretrained(folder / "final")
    accuracy = {
        name: {
            str(k): [round(float(f([list(c[name].values())[n] for c in curves])), 4) for f in (np.mean, np.std)]
            for n, k in enumerate((*KNOWN, "all"))
        }
        for name in curves[0]
    }
    result: dict[str, object] = {"seeds": seeds, "sizes": asdict(sizes), "accuracy": accuracy}
    (folder / "final" / "evaluation.json").write_text(json.dumps(result, indent=2))
    return result


def embed(reader: JointEmbedding, bank: Bank, path: Path) -> np.ndarray:
    """(N, D) cover embeddings, stored at `path`."""
    if not path.exists():
        parts = [
            reader.covers([Image.fromarray(i) for i in bank.images[k : k + 256]]) for k in range(0, len(bank), 256)
        ]
        np.save(path, np.concatenate(parts))
    return np.load(path)


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train users`."""
    parser = Flags(__name__, __doc__, art="maybe", seeds=3)
    parser.add_argument("--data", type=Path, help="folder with items.csv (.jsonl, .parquet), events, optionally covers")
    parser.add_argument(
        "--checkpoint", type=Path, default=starter.path(), help="with --data: whose space covers are in"
    )
    parser.add_argument("--events", type=Path, help="a table of events (user, item, time, action or rating)")
    parser.add_argument("--items", type=Path, help="with --events: a table of the items' titles and categories")
    parser.number("steps", OWN.steps, "with --data and --events: training steps")
    args = parser.parse_args(argv)
    if sum(value is not None for value in (args.data, args.art, args.events)) != 1:
        parser.error("one of --data, --events and --art is needed")
    args.out.mkdir(parents=True, exist_ok=True)
    if args.events is not None:
        print(json.dumps(events.run(args.out, args.events, args.items, args.steps, args.seeds)))
        return
    if args.data is not None:
        fits = own.fits(OWN, args.steps, args.seeds)
        print(json.dumps(own.run(args.out, args.data, args.checkpoint, fits, CLUSTERS, SHARPNESS, TRUST)))
        return
    result = recipe(args.out, load_subjects(args.art), SMOKE if args.smoke else FULL, args.seeds)
    print(json.dumps(result))
