"""The user encoder on real ratings: whether it predicts liked items from pictures alone. On held-out users, compared with popularity.

    icg train ratings --data movielens --out runs/ratings [--seeds 3]

A pair is one of a held-out user's last five liked items and an item they never rated, sampled uniformly ("any") or in proportion to its
ratings ("popular"), where popularity itself has no information. Models trained here may not be shipped. Knows no service.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from icg import starter
from icg.data.behaviour import ENGAGED, Log
from icg.data.ratings import load
from icg.evaluate.preference import mean_embeddings
from icg.models.joint import JointEmbedding
from icg.pictures import decode, read
from icg.train.flags import Flags
from icg.train.loop import Fit
from icg.train.users.encoder import run
from icg.users.encoder import UserEncoder
from icg.users.examples import embeddings, examples

HIDDEN, NEGATIVES, HELD_OUT = 5, 200, 0.2
FIT = Fit(steps=600, lr=2e-3, batch=48, save_every=300)


def judge(
    folder: Path, log: Log, covers: np.ndarray, fit: Fit
) -> tuple[UserEncoder, np.ndarray, dict[str, dict[str, float]]]:
    """Train on four fifths of the users: the encoder, embeddings (N, D) of those with events, and pairwise accuracy on the rest by kind
    of pair and ranking, {} if none of these engaged with ten covers."""
    rng = np.random.default_rng((fit.seed, 3))
    users = int(log.user.max()) + 1
    held = np.isin(np.arange(users), rng.permutation(users)[: int(HELD_OUT * users)])
    train, test = log.take(~held[log.user]), log.take(held[log.user])
    encoder = run(folder, train, covers, fit)
    known = examples(train, rng)
    own = np.flatnonzero(np.diff(known.start))
    trained = embeddings(encoder, known, own, np.diff(known.start)[own], covers)
    rated = np.bincount(train.cover[np.isin(train.action, ENGAGED)], minlength=len(covers)).astype(float)
    histories = examples(test, rng)
    judges, counts, hidden = [], [], []
    for user in np.flatnonzero(held):
        events = np.arange(histories.start[user], histories.start[user + 1])
        liked = events[np.isin(histories.events.action[events], ENGAGED)]
        # A cover that was engaged with before would be no question.
        liked = liked[np.sort(np.unique(histories.events.cover[liked], return_index=True)[1])]
        if len(liked) >= 2 * HIDDEN:
            judges.append(user)
            counts.append(liked[-HIDDEN] - histories.start[user])
            hidden.append(histories.events.cover[liked[-HIDDEN:]])
    if not judges:
        return encoder, trained, {}
    people, before = np.array(judges), np.array(counts)
    encoded = embeddings(encoder, histories, people, before, covers)
    mean = mean_embeddings(histories, people, before, covers)
    rows = {"encoder": encoded, "mean": mean, "shuffled": np.roll(encoded, 1, 0)}
    scores = {name: vectors @ covers.T for name, vectors in rows.items()}
    scores |= {"prior": np.tile(encoder.prior.numpy() @ covers.T, (len(people), 1))}
    scores["popularity"] = np.tile(rated, (len(people), 1))
    spread = scores["encoder"].std()
    scores["encoder and popularity"] = scores["encoder"] / spread + np.log1p(rated)
    kinds = (("any", np.ones(len(covers))), ("popular", rated))
    accuracy = {
        kind: pairwise(scores, people, hidden, test, share, np.random.default_rng((fit.seed, 4)))
        for kind, share in kinds
    }
    return encoder, trained, accuracy


def pairwise(
    scores: dict[str, np.ndarray],
    users: np.ndarray,
    hidden: list[np.ndarray],
    log: Log,
    share: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Share of pairs (hidden liked item, never rated item) in the right order; ties count half, users have equal weight. Users who rated
    every item that has a share are left out."""
    right: dict[str, list[float]] = {name: [] for name in scores}
    for n, user in enumerate(users):
        free = share.copy()
        free[log.cover[log.user == user]] = 0
        if not free.any():
            continue
        others = rng.choice(len(free), NEGATIVES, p=free / free.sum())
        for name, table in scores.items():
            margin = table[n, hidden[n]][:, None] - table[n, others]
            right[name].append(float((margin > 0).mean() + 0.5 * (margin == 0).mean()))
    return {name: float(np.mean(values)) for name, values in right.items() if values}


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train ratings`."""
    parser = Flags(__name__, __doc__, smoke=False, seeds=3)
    parser.add_argument(
        "--data", type=Path, required=True, help="a folder with items.csv, ratings.csv and the pictures"
    )
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    ratings = load(args.data)
    path = args.out / "covers.npy"
    if not path.exists():
        reader = JointEmbedding.from_pretrained(starter.path())
        parts = [
            reader.covers([decode(read(path), path.name) for path in ratings.pictures[k : k + 256]])
            for k in range(0, len(ratings.pictures), 256)
        ]
        np.save(path, np.concatenate(parts))
    covers = np.load(path)
    fits = [replace(FIT, seed=seed) for seed in range(args.seeds)]
    results = [judge(args.out / f"seed{f.seed}", ratings.log, covers, f)[2] for f in fits]
    print(json.dumps({"seeds": args.seeds, "items": len(covers), "accuracy": over_seeds(results)}))


def over_seeds(results: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """Mean and deviation of `judge`'s accuracies, over the seeds that have them."""
    table: dict[str, dict[str, list[float]]] = {}
    for kind, names in results[0].items():
        for name in names:
            values = [result[kind][name] for result in results if name in result.get(kind, {})]
            table.setdefault(kind, {})[name] = [round(float(f(values)), 4) for f in (np.mean, np.std)]
    return table
