"""Whether a space knows users: held-out users' engagements with held-out covers, ranked by their own and by other users' profiles.

A pair is a cover the user engaged with and one they have no event on, drawn by how many users engaged with it, so that popularity alone
ranks at 0.5. Behaviour on items is not clicks on covers: what a picture says of its item (its genre) counts too. Knows no encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icg.space.projection import FEWEST_LIKES
from icg.space.source import Behaviour

NEGATIVES, OTHERS, MOST_USERS = 200, 20, 2000
WINDOW, HALF_LIFE = 32, 16.0
"""Of the services' encoder of the mean: the latest events, halved every so many engagements."""


@dataclass(frozen=True)
class Split:
    """One seed's split. Booleans: users (U,) to fit on, choose on and test on; covers (N,) likewise, all of an item together."""

    users: tuple[np.ndarray, np.ndarray, np.ndarray]
    covers: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def draw(cls, users: int, items: np.ndarray, seed: int) -> Split:
        """Three, one and one fifth of the users and of the items; items (N,) numbers the item of each cover."""
        rng = np.random.default_rng((seed, 11))
        return cls(_thirds(users, rng), tuple(part[items] for part in _thirds(int(items.max()) + 1, rng)))  # type: ignore[arg-type]


def _thirds(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    place = rng.permutation(count) / max(count, 1)
    return place < 0.6, (place >= 0.6) & (place < 0.8), place >= 0.8


@dataclass(frozen=True)
class Trial:
    """Pairs to judge spaces by. `people` (P,): users; `known`: for each, rows and weights of their events before the pairs, oldest first;
    `engaged` and `others`: for each, covers of the two sides of the pairs."""

    people: np.ndarray
    known: list[tuple[np.ndarray, np.ndarray]]
    engaged: list[np.ndarray]
    others: list[np.ndarray]

    @classmethod
    def draw(cls, behaviour: Behaviour, users: np.ndarray, history: np.ndarray, test: np.ndarray, seed: int) -> Trial:
        """users (U,), history (N,), test (N,): booleans. Users need FEWEST_LIKES engagements in `history` and one in `test`."""
        rng = np.random.default_rng((seed, 12))
        engaged = behaviour.take(behaviour.weight > 0)
        popular = np.bincount(engaged.cover, minlength=len(test)).astype(float) * test
        rows = behaviour.rows(len(users))
        people, known, right, wrong = [], [], [], []
        for user in rng.permutation(np.flatnonzero(users)):
            covers, weights = behaviour.cover[rows[user]], behaviour.weight[rows[user]]
            liked = np.unique(covers[weights > 0])
            share = popular.copy()
            share[covers] = 0
            if history[liked].sum() < FEWEST_LIKES or not test[liked].any() or not share.any():
                continue
            before = history[covers]
            people.append(int(user))
            known.append((covers[before], weights[before]))
            right.append(liked[test[liked]])
            wrong.append(rng.choice(len(share), NEGATIVES, p=share / share.sum()))
            if len(people) == MOST_USERS:
                break
        return cls(np.array(people, np.int64), known, right, wrong)

    def profiles(self, rows: np.ndarray) -> np.ndarray:
        """rows (N, D) -> (P, D): the unit mean of all covers that each user engaged with."""
        means = [np.unique(covers[weights > 0]) for covers, weights in self.known]
        return unit(np.stack([rows[covers].mean(0) for covers in means]))

    def served(self, rows: np.ndarray, rejections: bool = True) -> np.ndarray:
        """rows (N, D) -> (P, D): user embeddings as the services compute them from a profile's latest events, or without rejections."""
        known = self.known if rejections else [(covers, np.maximum(weights, 0)) for covers, weights in self.known]
        return served(known, rows)

    def accuracy(self, rows: np.ndarray, profiles: np.ndarray) -> np.ndarray:
        """(P, 2): for each user the share of pairs in the right order, by the own profile and by OTHERS other users'. Ties count half."""
        rng, out = np.random.default_rng(len(self.people)), np.zeros((len(self.people), 2))
        for n, (right, wrong) in enumerate(zip(self.engaged, self.others, strict=True)):
            strangers = np.delete(np.arange(len(self.people)), n)
            strangers = rng.permutation(strangers)[:OTHERS]
            scores = profiles[[n, *strangers]] @ rows[np.concatenate([right, wrong])].T
            margin = scores[:, : len(right), None] - scores[:, None, len(right) :]
            marks = ((margin > 0) + 0.5 * (margin == 0)).mean((1, 2))
            out[n] = marks[0], marks[1:].mean() if len(strangers) else np.nan
        return out


def served(known: list[tuple[np.ndarray, np.ndarray]], rows: np.ndarray) -> np.ndarray:
    """(rows of covers, weights) of each user's events, oldest first -> (P, D) unit rows, zeros for a user without engagements."""
    out = np.zeros((len(known), rows.shape[1]), np.float32)
    for n, (covers, weights) in enumerate(known):
        signal = weights != 0
        latest, strength = covers[signal][::-1][:WINDOW], weights[signal][::-1][:WINDOW]
        out[n] = (strength * 0.5 ** (np.arange(len(latest)) / HALF_LIFE)) @ rows[latest]
    return unit(out)


def unit(rows: np.ndarray) -> np.ndarray:
    """(N, D) -> unit rows; zeros stay."""
    out: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return out
