"""How well a user encoder predicts new users: pairwise accuracy on unseen users and covers, with baselines and controls.

A pair is a cover that the SIMULATED user would click and one that they would pass over; all users have equal weight. Knows nothing about
the encoder's training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icg.data.behaviour import CLICK, DISLIKE, DWELL, ENGAGED, LIKE, PURCHASE, Log, clicks
from icg.data.tastes import Tastes
from icg.errors import CheckpointError
from icg.users.cold_start import TasteMixture
from icg.users.encoder import WINDOW, UserEncoder
from icg.users.examples import NextCovers, embeddings, examples
from icg.users.histories import user_embedding
from icg.users.numpy_encoder import Histories, UserReader

KNOWN = (0, 1, 3, 10, 32, 64)
PAIRS = 400
WEIGHTS = {CLICK: 1.0, LIKE: 2.0, DISLIKE: -1.5, PURCHASE: 3.0}


@dataclass(frozen=True)
class ClickPairs:
    """For each user (U rows) PAIRS covers they would click and as many they would not, as rows of `covers` (N, D)."""

    covers: np.ndarray
    clicked: np.ndarray
    passed: np.ndarray

    @classmethod
    def draw(
        cls, people: Tastes, covers: np.ndarray, look: np.ndarray, category: np.ndarray, rng: np.random.Generator
    ) -> ClickPairs:
        """Without position bias: users look at every cover."""
        would = clicks(people.utility(look, category), rng)
        rows = [(rng.choice(np.flatnonzero(w), PAIRS), rng.choice(np.flatnonzero(~w), PAIRS)) for w in would]
        return cls(covers, *(np.stack(side) for side in zip(*rows, strict=True)))

    def accuracy(self, scores: np.ndarray) -> float:
        """scores (U, N); ties count half."""
        u = np.arange(len(scores))[:, None]
        margin = scores[u, self.clicked] - scores[u, self.passed]
        return float((margin > 0).mean() + 0.5 * (margin == 0).mean())


def mean_embeddings(histories: NextCovers, users: np.ndarray, known: np.ndarray, covers: np.ndarray) -> np.ndarray:
    """The untrained baseline: the recency-weighted mean of the latest WINDOW events, as in the services' first version."""
    e, out = histories.events, np.zeros((len(users), covers.shape[1]), np.float32)
    for n, (user, count) in enumerate(zip(users, known, strict=True)):
        rows = np.arange(histories.start[user] + max(count - WINDOW, 0), histories.start[user] + count)[::-1]
        base = [min(e.dwell_ms[r] / 10_000, 1) if e.action[r] == DWELL else WEIGHTS[int(e.action[r])] for r in rows]
        out[n] = user_embedding(covers[e.cover[rows]], np.array(base) * 0.5 ** (np.arange(len(rows)) / 16))
    return out


def served_embeddings(
    root: Path, log: Log, known: np.ndarray, covers: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(U, D): users 0 to U - 1 as the services embed them after the first `known` (U,) events of a log without impressions.

    By users/ of the checkpoint `root`, or as means without it. covers (N, D). Raises CheckpointError for a users/ of another width.
    """
    if not (root / "users").is_dir():
        return mean_embeddings(examples(log, rng), np.arange(len(known)), known, covers)
    reader = UserReader.from_pretrained(root / "users")
    if reader.embedding != covers.shape[1]:
        raise CheckpointError(
            f"users={str(root / 'users')!r} of {reader.embedding} numbers; allowed: {covers.shape[1]}, as covers have"
        )
    return reader(Histories.of(covers, log, known))


def curve(
    encoder: UserEncoder, mixture: TasteMixture, log: Log, covers: np.ndarray, pairs: ClickPairs, popular: np.ndarray
) -> dict[str, dict[int, float]]:
    """Accuracy by ranking and number of known events. `popular` (D,) is the mean of the training users' engaged covers."""
    histories = examples(log, np.random.default_rng(0))
    users = np.arange(len(pairs.clicked))
    have = np.diff(histories.start)[users]
    out: dict[str, dict[int, float]] = {}
    for count in (*KNOWN, int(have.max())):
        known = np.minimum(have, count)
        encoded = embeddings(encoder, histories, users, known, covers)
        scores = {
            "encoder": (encoded if count else np.tile(encoder.prior.numpy(), (len(users), 1))) @ pairs.covers.T,
            "mixture": mixture(encoded, *evidence(histories, users, known, covers)) @ pairs.covers.T,
            "mean": mean_embeddings(histories, users, known, covers) @ pairs.covers.T,
            "nearest": nearest(histories, users, known, covers, pairs.covers),
            "popularity": np.tile(popular @ pairs.covers.T, (len(users), 1)),
            "shuffled": np.roll(encoded, 1, 0) @ pairs.covers.T,
        }
        for name, values in scores.items():
            out.setdefault(name, {})[count] = pairs.accuracy(values)
    return out


def evidence(
    histories: NextCovers, users: np.ndarray, known: np.ndarray, covers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(B, D) the sum of engaged covers minus that of rejected ones, each once, and their number (B,)."""
    e = histories.events
    total, count = np.zeros((len(users), covers.shape[1]), np.float32), np.zeros(len(users))
    for n, (user, k) in enumerate(zip(users, known, strict=True)):
        rows = np.arange(histories.start[user], histories.start[user] + k)
        liked = np.unique(e.cover[rows[np.isin(e.action[rows], ENGAGED)]])
        not_liked = np.unique(e.cover[rows[e.action[rows] == DISLIKE]])
        total[n] = covers[liked].sum(0) - covers[not_liked].sum(0)
        count[n] = len(liked) + len(not_liked)
    return total, count


def nearest(
    histories: NextCovers, users: np.ndarray, known: np.ndarray, covers: np.ndarray, candidates: np.ndarray
) -> np.ndarray:
    """(B, N): cosine with the nearest engaged cover, 0 without one."""
    e, out = histories.events, np.zeros((len(users), len(candidates)), np.float32)
    for n, (user, k) in enumerate(zip(users, known, strict=True)):
        rows = np.arange(histories.start[user], histories.start[user] + k)
        liked = e.cover[rows[np.isin(e.action[rows], ENGAGED)]]
        if len(liked):
            out[n] = (covers[liked] @ candidates.T).max(0)
    return out
