"""Simulated users: what they like about covers, and how they behave. Everything here is SIMULATED. numpy only.

A taste is a weight for every style, palette, backdrop, framing and theme (category); the utility of a cover is the sum of the weights
of its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icg.data.art import CATEGORIES
from icg.data.bank import AXES

STRENGTH: tuple[float, ...] = (1.6, 1.3, 1.0, 0.8, 0.5)
"""Weights of style, palette, backdrop, framing and theme."""
SIZES: tuple[int, ...] = (*(len(axis) for axis in AXES), len(CATEGORIES))
WIDTH = sum(SIZES)
_STARTS = np.cumsum((0, *SIZES[:-1]))


@dataclass(frozen=True)
class Tastes:
    """`weights` (U, WIDTH): one row a user; `favourite` (U, 5): the best liked value of each axis."""

    weights: np.ndarray
    favourite: np.ndarray

    def utility(self, look: np.ndarray, category: np.ndarray) -> np.ndarray:
        """look (N, 4), category (N,) -> (U, N)."""
        codes = np.concatenate([look, category[:, None]], 1) + _STARTS
        return self.weights[:, codes].sum(-1)


def sample(users: int, rng: np.random.Generator) -> Tastes:
    """Draw `users` tastes: one favourite per axis, a weaker second in half of them, and noise."""
    favourite = np.stack([rng.integers(0, size, users) for size in SIZES], 1)
    return with_favourites(favourite, rng)


def with_favourites(
    favourite: np.ndarray, rng: np.random.Generator, noise: float = 0.2, strength: Sequence[float] = STRENGTH
) -> Tastes:
    """Tastes with these favourites, (U, 5) indices of style, palette, backdrop, framing, theme, which weigh as much as `strength`."""
    users = len(favourite)
    weights = rng.normal(0, noise, (users, WIDTH))
    for axis, (start, size, weight) in enumerate(zip(_STARTS, SIZES, strength, strict=True)):
        second = (favourite[:, axis] + rng.integers(1, size, users)) % size
        weights[np.arange(users), start + second] += weight * 0.4 * (rng.random(users) < 0.5)
        weights[np.arange(users), start + favourite[:, axis]] += weight * rng.uniform(0.8, 1.2, users)
    return Tastes(weights, favourite)


def engaged(utility: np.ndarray, count: int, rng: np.random.Generator, temperature: float = 0.5) -> np.ndarray:
    """(U, N) utilities -> (U, count) distinct covers each user engages with (Gumbel top-k of the softmax)."""
    noisy = utility / temperature + rng.gumbel(size=utility.shape)
    return np.argpartition(-noisy, count - 1, axis=1)[:, :count]
