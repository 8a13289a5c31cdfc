"""Fits a map from users' own vectors to their embeddings, on users with both, and measures it on held-out users. Reads and writes nothing.

Ridge regression in closed form; its strength is the one of the smallest error on users outside the fit. Controls: the mean user,
no preference (a user of whom nothing is known), and the same procedure with the vectors of users exchanged at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from icg.errors import IcgError
from icg.users.vector_map import VectorMap

LEAST_USERS = 50
"""With a vector and enough behaviour. A fifth of them measure the map: ten, with whom an accuracy means something."""
STRENGTHS = tuple(10.0**power for power in range(-3, 5))
"""Of the ridge, in units of the mean variance of a column."""
CHUNK = 4096
NEGATIVES = 100
FEWEST_JUDGED = 10


@dataclass(frozen=True)
class Split:
    """Row numbers of three, one and one fifth of the users: to fit on, to choose the strength on, to measure on."""

    fit: np.ndarray
    choose: np.ndarray
    test: np.ndarray

    @classmethod
    def draw(cls, users: int, seed: int) -> Split:
        """Raises IcgError for fewer than LEAST_USERS."""
        if users < LEAST_USERS:
            raise IcgError(f"users with a vector and enough behaviour: {users}; allowed: at least {LEAST_USERS}")
        order = np.random.default_rng((seed, 31)).permutation(users)
        return cls(*np.split(order, [users - 2 * (users // 5), users - users // 5]))


@dataclass(frozen=True)
class Figures:
    """Means over held-out users by predictor ("mapped", "mean_user", "cold", "shuffled"): cosine with the user's embedding; accuracy, the
    share of pairs (a cover the user engaged with, another) in the right order, empty if too few users have pairs.

    gain: accuracy of "mapped" over "mean_user", or their cosines without an accuracy; error: its standard error over users.
    """

    users: int
    cosine: dict[str, float]
    accuracy: dict[str, float] = field(default_factory=dict)
    gain: float = 0.0
    error: float = 0.0

    @property
    def told_from_chance(self) -> bool:
        return self.gain > 2 * self.error


def learn(vectors: np.ndarray, embeddings: np.ndarray, split: Split, whole: bool, encoder: int = 0) -> VectorMap:
    """vectors (N, W), embeddings (N, D) at most unit length. Fitted on all users but those to measure on, or on the `whole`."""
    first = _Sums.of(vectors[split.fit], embeddings[split.fit])
    errors = [
        float(((first.solve(strength)(vectors[split.choose]) - embeddings[split.choose]) ** 2).mean())
        for strength in STRENGTHS
    ]
    rows = np.concatenate([split.fit, split.choose, *([split.test] if whole else [])])
    return _Sums.of(vectors[rows], embeddings[rows]).solve(STRENGTHS[int(np.argmin(errors))], encoder)


def measure(
    vectors: np.ndarray, embeddings: np.ndarray, split: Split, liked: Sequence[np.ndarray], seed: int
) -> Figures:
    """liked: for each user to measure on, embeddings (n, D) of the covers the user engaged with."""
    rng = np.random.default_rng((seed, 32))
    mixed = vectors.copy()
    known = np.concatenate([split.fit, split.choose])
    mixed[known] = vectors[rng.permutation(known)]
    test, truth = vectors[split.test], embeddings[split.test]
    mapped = learn(vectors, embeddings, split, whole=False)
    guesses = {
        "mapped": mapped(test),
        "mean_user": np.repeat(mapped.middle[None], len(test), 0),
        "cold": np.zeros_like(truth),
        "shuffled": learn(mixed, embeddings, split, whole=False)(test),
    }
    cosines = {name: _cosines(rows, truth) for name, rows in guesses.items()}
    accuracy = _accuracies(guesses, liked, rng)
    judged = ~np.isnan(accuracy["mapped"])
    enough = int(judged.sum()) >= FEWEST_JUDGED
    over = (accuracy["mapped"] - accuracy["mean_user"])[judged] if enough else cosines["mapped"] - cosines["mean_user"]
    return Figures(
        len(test),
        {name: float(values.mean()) for name, values in cosines.items()},
        {name: float(values[judged].mean()) for name, values in accuracy.items()} if enough else {},
        float(over.mean()),
        float(over.std(ddof=1) / len(over) ** 0.5),
    )


@dataclass(frozen=True)
class _Sums:
    """What ridge regressions of all strengths share: the eigenvectors (W, W) and eigenvalues (W,) of the covariance of the standardised
    vectors, and their covariance with the embeddings (W, D)."""

    mean: np.ndarray
    scale: np.ndarray
    middle: np.ndarray
    values: np.ndarray
    axes: np.ndarray
    cross: np.ndarray
    users: int

    @classmethod
    def of(cls, vectors: np.ndarray, embeddings: np.ndarray) -> _Sums:
        width, middle = vectors.shape[1], embeddings.mean(0, dtype=np.float64)
        mean = vectors.mean(0, dtype=np.float64)
        deviation = np.sqrt(((vectors - mean) ** 2).mean(0)) if len(vectors) <= CHUNK else _deviation(vectors, mean)
        # A column that is the same for all users says nothing, and must not blow up for a user in whom it differs.
        scale = np.where(deviation > 1e-6 * max(float(deviation.max()), 1e-30), deviation, np.inf)
        gram, cross = np.zeros((width, width)), np.zeros((width, embeddings.shape[1]))
        for start in range(0, len(vectors), CHUNK):
            x = (vectors[start : start + CHUNK].astype(np.float64) - mean) / scale
            gram += x.T @ x
            cross += x.T @ (embeddings[start : start + CHUNK] - middle)
        values, axes = np.linalg.eigh(gram / len(vectors))
        return cls(mean, scale, middle, np.maximum(values, 0), axes, cross / len(vectors), len(vectors))

    def solve(self, strength: float, encoder: int = 0) -> VectorMap:
        ridge = strength * max(float(self.values.mean()), 1e-12)
        slopes = self.axes @ ((self.axes.T @ self.cross) / (self.values + ridge)[:, None])
        constant = ~np.isfinite(self.scale)
        slopes[constant] = 0
        scale = np.where(constant, 1, self.scale)
        parts = (part.astype(np.float32) for part in (self.mean, scale, slopes, self.middle))
        return VectorMap(*parts, encoder, self.users, strength)


def _deviation(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    total = np.zeros(len(mean))
    for start in range(0, len(vectors), CHUNK):
        total += ((vectors[start : start + CHUNK] - mean) ** 2).sum(0)
    out: np.ndarray = np.sqrt(total / len(vectors))
    return out


def _cosines(rows: np.ndarray, truth: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1) * np.linalg.norm(truth, axis=1)
    out: np.ndarray = (rows * truth).sum(1) / np.maximum(length, 1e-9)
    return out


def _accuracies(
    guesses: dict[str, np.ndarray], liked: Sequence[np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """By predictor (P,): the share of a user's pairs in the right order, ties count half; NaN for a user without pairs.

    The other cover of a pair is one that other users engaged with, as often as they did, so that popularity alone is right in half of them.
    """
    out = {name: np.full(len(liked), np.nan) for name in guesses}
    if not sum(map(len, liked)):
        return out
    covers, place, popular = np.unique(np.concatenate(liked), axis=0, return_inverse=True, return_counts=True)
    ends = np.cumsum([len(own) for own in liked])
    for n, own in enumerate(np.split(place.ravel(), ends[:-1])):
        chance = popular.astype(float)
        chance[own] = 0
        if len(own) and chance.any():
            other = rng.choice(len(covers), NEGATIVES, p=chance / chance.sum())
            for name, rows in guesses.items():
                margin = (covers[own] @ rows[n])[:, None] - (covers[other] @ rows[n])[None]
                out[name][n] = ((margin > 0) + 0.5 * (margin == 0)).mean()
    return out
