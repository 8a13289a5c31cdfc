"""Fits a map from users' own vectors to how their embeddings differ from the mean user's, and measures it. Reads and writes nothing.

Ridge regression in closed form; its strength is the one of the smallest error on users outside the fit. The mean user is left out of a
prior: on simulated users its direction ranked covers worse than chance (docs/log.md). Controls: no preference (a user of whom nothing is
known), the mean user, and the same procedure with the vectors of users exchanged at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from icg.errors import IcgError
from icg.users.histories import WINDOW
from icg.users.vector_map import VectorMap

LEAST_USERS = 50
"""With a vector and enough behaviour. A fifth of them measure the map: ten, with whom an accuracy means something."""
STRENGTHS = tuple(10.0**power for power in range(-3, 5))
"""Of the ridge, in units of the mean variance of a column."""
CHUNK = 4096
TRUSTS, TRUST = (2, 4, 8, 16, 32, 64), 8
"""How slowly behaviour takes over from a prior: the choices, and the one without users to choose on."""
NEGATIVES = 100
FEWEST_JUDGED = 10


@dataclass(frozen=True)
class UserSplit:
    """Row numbers of three, one and one fifth of the users: to fit on, to choose the strength on, to measure on."""

    fit: np.ndarray
    choose: np.ndarray
    test: np.ndarray

    @classmethod
    def draw(cls, users: int, seed: int) -> UserSplit:
        """Raises IcgError for fewer than LEAST_USERS."""
        if users < LEAST_USERS:
            raise IcgError(f"users with a vector and enough behaviour: {users}; allowed: at least {LEAST_USERS}")
        order = np.random.default_rng((seed, 31)).permutation(users)
        return cls(*np.split(order, [users - 2 * (users // 5), users - users // 5]))


@dataclass(frozen=True)
class Halves:
    """P users' engagements in two halves: events (P, D) embeddings from the older one, counts (P,) of them, and for each user the covers
    (n, D) of the newer half that are not in the older."""

    events: np.ndarray
    counts: np.ndarray
    liked: Sequence[np.ndarray]

    def blend(self, priors: np.ndarray, trust: int) -> np.ndarray:
        """(P, D) in the direction of the embeddings that the services compute from the older half and priors (P, D)."""
        share = (trust / (self.counts + trust) * np.maximum(1 - self.counts / WINDOW, 0))[:, None]
        out: np.ndarray = (1 - share) * _unit(self.events) + share * _unit(priors)
        return out


@dataclass(frozen=True)
class Figures:
    """Means over held-out users by predictor ("mapped", "mean_user", "cold", "shuffled", "events", "both"): cosine with the user's
    difference from the mean user; accuracy, the share of pairs (a cover of the user's newer half, another) in the right order, empty if too
    few users have pairs. "events" and "both" know the older half, of `older` engagements in the mean.

    gain: accuracy of "mapped" over the better of "mean_user" and "cold", or its cosine without an accuracy; error: its standard error.
    """

    users: int
    older: float
    cosine: dict[str, float]
    accuracy: dict[str, float] = field(default_factory=dict)
    gain: float = 0.0
    error: float = 0.0

    @property
    def told_from_chance(self) -> bool:
        return self.gain > 2 * self.error


def learn(
    vectors: np.ndarray, embeddings: np.ndarray, split: UserSplit, whole: bool, encoder: int = 0, trust: int = TRUST
) -> VectorMap:
    """vectors (N, W), embeddings (N, D) at most unit length. Fitted on all users but those to measure on, or on the `whole`."""
    strength, _ = _chosen(vectors, embeddings, split)
    rows = np.concatenate([split.fit, split.choose, *([split.test] if whole else [])])
    return _Sums.of(vectors[rows], embeddings[rows]).solve(strength, encoder, trust)


def choose_trust(vectors: np.ndarray, embeddings: np.ndarray, split: UserSplit, halves: Halves, seed: int) -> int:
    """The trust of the best accuracy of "both" on the users to choose on, whose `halves` these are; TRUST if too few have pairs."""
    priors = _chosen(vectors, embeddings, split)[1](vectors[split.choose])
    guesses = {str(trust): halves.blend(priors, trust) for trust in TRUSTS}
    accuracy = _accuracies(guesses, halves.liked, np.random.default_rng((seed, 34)))
    judged = ~np.isnan(accuracy[str(TRUST)])
    if judged.sum() < FEWEST_JUDGED:
        return TRUST
    return max(TRUSTS, key=lambda trust: (accuracy[str(trust)][judged].mean(), -abs(trust - TRUST)))


def measure(
    vectors: np.ndarray, embeddings: np.ndarray, split: UserSplit, halves: Halves, trust: int, seed: int
) -> Figures:
    """`halves`: of the users to measure on."""
    rng = np.random.default_rng((seed, 32))
    mixed, known = vectors.copy(), np.concatenate([split.fit, split.choose])
    mixed[known] = vectors[rng.permutation(known)]
    test, middle = vectors[split.test], embeddings[known].mean(0)
    mapped = learn(vectors, embeddings, split, whole=False)(test)
    guesses = {
        "mapped": mapped,
        "mean_user": np.repeat(middle[None], len(test), 0),
        "cold": np.zeros_like(mapped),
        "shuffled": learn(mixed, embeddings, split, whole=False)(test),
        "events": halves.events,
        "both": halves.blend(mapped, trust),
    }
    truth = embeddings[split.test] - middle
    # What the mean user says of a difference from the mean user is nothing.
    cosines = {name: _cosines(guesses[name], truth) for name in ("mapped", "shuffled")}
    accuracy = _accuracies(guesses, halves.liked, rng)
    judged = ~np.isnan(accuracy["mapped"])
    means = {name: float(values[judged].mean()) for name, values in accuracy.items()} if judged.any() else {}
    if judged.sum() < FEWEST_JUDGED:
        means = {}
    without = max(("mean_user", "cold"), key=lambda name: means.get(name, 0.0))
    over = (accuracy["mapped"] - accuracy[without])[judged] if means else cosines["mapped"]
    return Figures(
        len(test),
        float(halves.counts.mean()),
        {name: float(values.mean()) for name, values in cosines.items()} | {"mean_user": 0.0, "cold": 0.0},
        means,
        float(over.mean()),
        float(over.std(ddof=1) / len(over) ** 0.5),
    )


def _chosen(vectors: np.ndarray, embeddings: np.ndarray, split: UserSplit) -> tuple[float, VectorMap]:
    """The strength of the smallest error on the users to choose on, and its map, which knows only the users to fit on."""
    first = _Sums.of(vectors[split.fit], embeddings[split.fit])
    truth = embeddings[split.choose] - embeddings[split.fit].mean(0)
    errors = {s: float(((first.solve(s)(vectors[split.choose]) - truth) ** 2).mean()) for s in STRENGTHS}
    strength = min(errors, key=lambda s: errors[s])
    return strength, first.solve(strength)


@dataclass(frozen=True)
class _Sums:
    """What ridge regressions of all strengths share: the eigenvectors (W, W) and eigenvalues (W,) of the covariance of the standardised
    vectors, and their covariance with the embeddings (W, D)."""

    mean: np.ndarray
    scale: np.ndarray
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
        return cls(mean, scale, np.maximum(values, 0), axes, cross / len(vectors), len(vectors))

    def solve(self, strength: float, encoder: int = 0, trust: int = TRUST) -> VectorMap:
        ridge = strength * max(float(self.values.mean()), 1e-12)
        slopes = self.axes @ ((self.axes.T @ self.cross) / (self.values + ridge)[:, None])
        constant = ~np.isfinite(self.scale)
        slopes[constant] = 0
        scale = np.where(constant, 1, self.scale)
        parts = (part.astype(np.float32) for part in (self.mean, scale, slopes))
        return VectorMap(*parts, encoder, self.users, strength, trust)


def _deviation(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    total = np.zeros(len(mean))
    for start in range(0, len(vectors), CHUNK):
        total += ((vectors[start : start + CHUNK] - mean) ** 2).sum(0)
    out: np.ndarray = np.sqrt(total / len(vectors))
    return out


def _unit(rows: np.ndarray) -> np.ndarray:
    out: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
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
