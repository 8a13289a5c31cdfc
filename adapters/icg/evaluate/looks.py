"""Judges that read a cover's look: which style, palette, backdrop and framing. Ridge probes on features of composed covers.

Two kinds of features: those of the embedding that also ranks the covers, and `plain_features` (colours and the directions of edges, as in
HOG), which no network has computed: a judge that is independent of all that is trained here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from icg.data.bank import AXES, Bank

SIDE, CELLS, DIRECTIONS, LEVELS = 96, 8, 8, 6
"""Edge in pixels at which pictures are read; cells and directions of the histograms of edges; levels of a channel in that of colours."""

Features = Callable[[list[Image.Image]], np.ndarray]
"""Pictures -> (N, F)."""


class LookJudge:
    """strength: of the ridge, for standardised features."""

    def __init__(self, features: Features, bank: Bank, strength: float = 10.0) -> None:
        self._features = features
        x = features([Image.fromarray(i) for i in bank.images]).astype(np.float64)
        self.mean, self.scale = x.mean(0), x.std(0) + 1e-3
        x = self._standard(x)
        gram = x.T @ x + strength * np.eye(x.shape[1])
        self.maps = [np.linalg.solve(gram, x.T @ np.eye(len(axis))[bank.look[:, a]]) for a, axis in enumerate(AXES)]

    def __call__(self, images: list[Image.Image]) -> np.ndarray:
        """(N, 4) indices into AXES."""
        x = self._standard(self._features(images).astype(np.float64))
        return np.stack([(x @ m).argmax(1) for m in self.maps], 1)

    def _standard(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([(x - self.mean) / self.scale, np.ones((len(x), 1))], 1)


def plain_features(images: list[Image.Image]) -> np.ndarray:
    """(N, 1688): a thumbnail of 12 x 12, a histogram of colours, and histograms of edge directions at two scales, by cells and in all."""
    edge = (SIDE, SIDE)
    x = np.stack([np.asarray(i.convert("RGB").resize(edge, Image.Resampling.LANCZOS), np.float32) for i in images])
    x /= 255
    levels = (x * (LEVELS - 1e-3)).astype(int) @ np.array([LEVELS**2, LEVELS, 1])
    colours = np.stack([np.bincount(row.ravel(), minlength=LEVELS**3) for row in levels])
    parts = [_reduced(x, 12).reshape(len(x), -1), np.sqrt(colours / SIDE**2)]
    grey = x @ np.array([0.299, 0.587, 0.114], np.float32)
    for picture in (grey, _reduced(grey[..., None], SIDE // 2)[..., 0]):
        cells = _edges(picture)
        parts += [cells.reshape(len(x), -1), cells.mean((1, 2))]
    return np.concatenate(parts, 1)


def _reduced(x: np.ndarray, count: int) -> np.ndarray:
    """(N, h, h, C) -> (N, count, count, C) means."""
    step = x.shape[1] // count
    out: np.ndarray = x.reshape(len(x), count, step, count, step, -1).mean((2, 4))
    return out


def _edges(grey: np.ndarray) -> np.ndarray:
    """(N, h, h) -> (N, CELLS, CELLS, DIRECTIONS): the square root of the mean strength of edges."""
    across, down = np.diff(grey, axis=2)[:, :-1], np.diff(grey, axis=1)[:, :, :-1]
    turn = np.arctan2(down, across) % np.pi / np.pi * DIRECTIONS
    strength = np.eye(DIRECTIONS, dtype=np.float32)[turn.astype(int) % DIRECTIONS] * np.hypot(across, down)[..., None]
    size = strength.shape[1] // CELLS * CELLS
    return np.sqrt(_reduced(strength[:, :size, :size], CELLS))
