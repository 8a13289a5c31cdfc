"""Bare grounds to learn from: pictures of every palette and backdrop, as latents. Knows no training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg.data.art import STYLES, Subject
from icg.data.bank import AXES
from icg.data.compose import BACKDROPS, PALETTES, PLACES, stable_seed
from icg.data.grounds import ground
from icg.reliability.scenes.studios import COUNT, picture
from icg.train.starter.autoencoder import encode

KINDS = len(PALETTES) * len(BACKDROPS)


class Grounds:
    """Bare grounds of a seed, of all palettes and backdrops in turn: `codes` (N, 2), and their latents at unit deviation.

    Few layouts of each backdrop, in every palette, are learned sooner than many: what a user sees are the kinds, not their variants.
    """

    def __init__(self, vae: Any, count: int, seed: int) -> None:
        self._vae, self._seed = vae, seed
        rows = np.arange(count)
        self.codes = np.stack([rows % len(PALETTES), rows // len(PALETTES) % len(BACKDROPS)], 1)

    @property
    def layouts(self) -> int:
        """How many each backdrop has: rows `KINDS` * n and on are those of layout n."""
        return -(-len(self.codes) // KINDS)

    def latents(self, cache: Path, side: int, shown: int = 0) -> Tensor:
        """(N, C, h, w) of them drawn at `side` pixels an edge, and reduced to `shown`. cache: a file, written if it is missing."""
        return encoded(self._vae, self._draw, len(self.codes), cache, side, shown)

    def looks(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(B, 4): the looks of `rows` (B,), with a random style and framing."""
        style, framing = (rng.integers(0, len(axis), len(rows)) for axis in (STYLES, tuple(PLACES)))
        return np.stack([style, self.codes[rows, 0], self.codes[rows, 1], framing], 1)

    def _draw(self, row: int, side: int) -> Image.Image:
        palette, backdrop = self.codes[row]
        seed = stable_seed("ground", self._seed, row // KINDS)
        return ground(list(PALETTES)[palette], BACKDROPS[backdrop], seed, side)


class BareStudios:
    """The studios of `icg.reliability.scenes.studios`, each in all palettes in turn: row n is studio n // 14 in palette n % 14."""

    def __init__(self, vae: Any, subjects: Sequence[Subject]) -> None:
        self._vae, self._subjects = vae, subjects

    def __len__(self) -> int:
        return COUNT * len(PALETTES)

    def latents(self, cache: Path, side: int, shown: int = 0) -> Tensor:
        """As of Grounds."""
        return encoded(self._vae, self._draw, len(self), cache, side, shown)

    def _draw(self, row: int, side: int) -> Image.Image:
        return picture(row // len(PALETTES), list(PALETTES)[row % len(PALETTES)], self._subjects, side)


def studio_looks(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(B, 4): looks with the palettes of these `rows` (B,) of BareStudios, and all else random."""
    looks = np.stack([rng.integers(0, len(axis), len(rows)) for axis in AXES], 1)
    looks[:, 1] = rows % len(PALETTES)
    return looks


def encoded(
    vae: Any, draw: Callable[[int, int], Image.Image], count: int, cache: Path, side: int, shown: int
) -> Tensor:
    """(N, C, h, w): latents at unit deviation of `draw(row, side)` for each row, reduced to `shown` pixels an edge. cache: a file."""

    def compute() -> Tensor:
        parts = []
        for first in range(0, count, 64):
            pictures = [draw(row, side) for row in range(first, min(first + 64, count))]
            if shown:
                pictures = [picture.resize((shown, shown), Image.Resampling.BOX) for picture in pictures]
            parts.append(encode(vae, np.stack(pictures)) * vae.config.scaling_factor)
        return torch.cat(parts)

    return cached(cache, compute)


def cached(path: Path, compute: Callable[[], Tensor]) -> Tensor:
    """The tensor in a .npy file, which is written if it is missing: encoding takes longer than many steps."""
    if not path.is_file():
        np.save(path, compute().numpy())
    return torch.from_numpy(np.load(path, allow_pickle=False))
