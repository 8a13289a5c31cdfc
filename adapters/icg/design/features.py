"""Designs as numbers, and as a direction in the space of cover and user embeddings. Knows no KPI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from icg.design.palette import NAMED
from icg.design.schema import BRIGHTNESS, PLACES, SIZES, STYLES, TENTHS, VIVIDNESS, WARMTH, Design
from icg.errors import CheckpointError, IcgError

_WORDS = (BRIGHTNESS, WARMTH, VIVIDNESS, PLACES, SIZES, STYLES)
WIDTH = len(NAMED) + sum(map(len, _WORDS))
RIDGE = 10.0


def features(designs: Sequence[Design]) -> np.ndarray:
    """(N, WIDTH) float32: the colours' shares in 0..1, then a 1 for each word of the design."""
    rows = np.zeros((len(designs), WIDTH), np.float32)
    colour = {name: n for n, name in enumerate(NAMED)}
    for row, design in zip(rows, designs, strict=True):
        for name, share in design.colours:
            row[colour[name]] = share / TENTHS
        at = len(NAMED)
        for words, word in zip(_WORDS, (*design.tones, design.place, design.size, design.style), strict=True):
            row[at + words.index(word)] = 1
            at += len(words)
    return rows


class Direction:
    """Predicts the cover embedding (D,) of a design: a ridge regression, `weight` (WIDTH, D) and `mean` (D,)."""

    def __init__(self, weight: np.ndarray, mean: np.ndarray) -> None:
        self.weight, self.mean = weight, mean

    @classmethod
    def fit(cls, designs: Sequence[Design], covers: np.ndarray) -> Direction:
        """`covers` (N, D): embeddings of the pictures that the designs describe. Raises IcgError for fewer than two."""
        if len(designs) < 2 or len(designs) != len(covers):
            raise IcgError(f"designs={len(designs)} for {len(covers)} covers; allowed: one each, at least two")
        x, mean = features(designs), covers.mean(0)
        centred = x - x.mean(0)
        weight = np.linalg.solve(centred.T @ centred + RIDGE * np.eye(WIDTH), centred.T @ (covers - mean))
        return cls(weight.astype(np.float32), (mean - x.mean(0) @ weight).astype(np.float32))

    def __call__(self, design: Design) -> np.ndarray:
        """(D,) float32 of unit length."""
        embedding = features([design])[0] @ self.weight + self.mean
        return (embedding / max(float(np.linalg.norm(embedding)), 1e-6)).astype(np.float32)

    def save_pretrained(self, folder: Path) -> None:
        """Write direction.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {"weight": self.weight.astype(np.float16), "mean": self.mean.astype(np.float16)},
            folder / "direction.safetensors",
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Direction:
        """Read a folder of `save_pretrained`. Raises CheckpointError if the file is missing or of another width."""
        path = Path(folder) / "direction.safetensors"
        try:
            tensors = load_file(path)
            direction = cls(tensors["weight"].astype(np.float32), tensors["mean"].astype(np.float32))
        except (OSError, SafetensorError, KeyError) as error:
            raise CheckpointError(
                f"design={str(folder)!r}: {error}; allowed: icg.train.engagement.design's folder"
            ) from error
        if direction.weight.shape != (WIDTH, *direction.mean.shape):
            raise CheckpointError(f"design={str(folder)!r}: weight of {direction.weight.shape}; allowed: ({WIDTH}, D)")
        return direction
