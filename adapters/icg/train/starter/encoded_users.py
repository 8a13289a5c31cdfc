"""SIMULATED users as the services embed them: their latest events, read by a starter's user encoder. numpy only."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icg.data import tastes
from icg.data.bank import AXES, Bank
from icg.data.behaviour import IMPRESSION, simulate
from icg.users.numpy_encoder import Histories, UserReader

LISTS = 60
"""Lists of covers that a simulated user sees; how many of the events after them are known is random."""
LEAST = 6
"""Known events of a user, at least."""
UNCLEAR = 0.4
"""Share of the users, on each axis, whose reading is too near to a second one to learn from: their grounds would be means of two."""
TOGETHER = 1000
"""Users that are simulated at a time: each has a utility for each cover."""


class EncodedUsers:
    """`users` (N, 64), of at most unit length; the look that each likes best, `favourite` (N, 4); and what a linear reading of the user
    takes for it, `known` (N, 4): a few events do not tell all, and a ground for a mean of what may be is no ground."""

    def __init__(self, folder: Path, bank: Bank, covers: np.ndarray, themes: np.ndarray, count: int, seed: int) -> None:
        """folder: a user encoder with its mixture. covers (M, 64): of the bank. themes (M,): category of each cover's subject."""
        reader, rng = UserReader.from_pretrained(folder), np.random.default_rng((seed, 43))
        parts, liked = [], []
        for first in range(0, count, TOGETHER):
            people = tastes.sample(min(TOGETHER, count - first), rng)
            log, last = simulate(people, bank.look, themes, LISTS, rng, drift=0.0)
            log = log.take(log.action != IMPRESSION)
            start = np.searchsorted(log.user, np.arange(len(people.favourite) + 1))
            known = rng.integers(np.minimum(LEAST, np.diff(start)), np.diff(start) + 1)
            parts.append(reader(Histories.of(covers, log, known)))
            liked.append(last.favourite[:, : len(AXES)])
        self.users, self.favourite = np.concatenate(parts), np.concatenate(liked)
        read = [_read(self.users, self.favourite[:, n], len(axis)) for n, axis in enumerate(AXES)]
        self.known = np.stack([known for known, _ in read], 1)
        clear = np.flatnonzero(np.all([lead >= np.quantile(lead, UNCLEAR) for _, lead in read[1:3]], axis=0))
        code = self._code(self.known[clear, 1:3])
        self._order = clear[np.argsort(code, kind="stable")]
        self._starts = np.searchsorted(np.sort(code), np.arange(len(AXES[1]) * len(AXES[2]) + 1))

    def draw(self, look: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """look (B, 4) -> users (B, 64) clearly known to like its palette and backdrop, and their `known` (B, 4). Zeros where nobody does,
        with the look as it was."""
        code = self._code(look[:, 1:3])
        low, high = self._starts[code], self._starts[code + 1]
        rows = self._order[np.minimum(rng.integers(low, np.maximum(high, low + 1)), len(self._order) - 1)]
        somebody = (high > low)[:, None]
        return self.users[rows] * somebody, np.where(somebody, self.known[rows], look)

    @staticmethod
    def _code(of: np.ndarray) -> np.ndarray:
        return of[:, 0] * len(AXES[2]) + of[:, 1]


def _read(users: np.ndarray, favourite: np.ndarray, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the most likely favourite by ridge regression from users (N, 64) to their favourites (N,) of `kinds`, and its lead (N,)."""
    shown = np.eye(kinds)[favourite]
    slopes = np.linalg.solve(users.T @ users + 0.5 * np.eye(users.shape[1]), users.T @ (shown - shown.mean(0)))
    likely = users @ slopes + shown.mean(0)
    second, first = np.sort(likely, 1)[:, -2:].T
    return likely.argmax(1), first - second
