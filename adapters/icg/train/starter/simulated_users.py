"""SIMULATED users that fit a cover: means of other covers that share its look. Knows no model; numpy only."""

from __future__ import annotations

import numpy as np

from icg.data.bank import AXES, Bank


class Crowd:
    """Draws user embeddings that fit a target's look, from a bank's cover embeddings (N, 64)."""

    def __init__(self, bank: Bank, covers: np.ndarray) -> None:
        self.sizes = np.array([len(axis) for axis in AXES])
        code = self._code(bank.look)
        self.order = np.argsort(code, kind="stable")
        self.starts = np.searchsorted(code[self.order], np.arange(self.sizes.prod() + 1))
        self.covers, self.subject = covers, bank.subject

    def draw(self, look: np.ndarray, subject: np.ndarray, match: float, rng: np.random.Generator) -> np.ndarray:
        """look (B, 4), subject (B,) -> (B, 64) unit rows: means of 2..12 covers of other subjects."""
        most, users = 12, len(look)
        same = rng.random((users, most, 4)) < match
        target = np.where(same, look[:, None], (rng.random((users, most, 4)) * self.sizes).astype(int))
        code = self._code(target)
        low, high = self.starts[code], self.starts[code + 1]
        place = low + (rng.random(code.shape) * np.maximum(high - low, 1)).astype(int)
        rows = self.order[np.minimum(place, len(self.order) - 1)]
        used = np.arange(most) < rng.integers(2, most + 1, users)[:, None]
        used &= self.subject[rows] != subject[:, None]
        weight = (used & (high > low)).astype(np.float32)
        mean = (self.covers[rows] * weight[..., None]).sum(1)
        return (mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-6)).astype(np.float32)

    def _code(self, look: np.ndarray) -> np.ndarray:
        code = look[..., 0]
        for axis in range(1, 4):
            code = code * self.sizes[axis] + look[..., axis]
        return code
