"""The bank: many composed covers with known subject and look, stored as one .npz. Knows nothing about models."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icg.data.art import STYLES, Subject
from icg.data.compose import BACKDROPS, FRAMINGS, PALETTES, SIDE, Look, compose, stable_seed

AXES: tuple[tuple[str, ...], ...] = (STYLES, tuple(PALETTES), BACKDROPS, FRAMINGS)
AXIS_NAMES: tuple[str, ...] = ("style", "palette", "backdrop", "framing")


@dataclass(frozen=True)
class Bank:
    """`images` (N, 128, 128, 3) uint8; `subject` (N,) indexes the subjects list; `look` (N, 4) indexes AXES."""

    images: np.ndarray
    subject: np.ndarray
    look: np.ndarray

    def __len__(self) -> int:
        return len(self.subject)


def look_of(codes: np.ndarray) -> Look:
    """(4,) indices into AXES -> Look."""
    return Look(*(axis[int(i)] for axis, i in zip(AXES, codes, strict=True)))


def build(subjects: list[Subject], count: int, seed: int, workers: int = 1, among: list[int] | None = None) -> Bank:
    """Draw `count` covers; every subject of `among` (default: all) and every look occurs about equally often."""
    rng = np.random.default_rng(seed)
    chosen = np.array(among if among is not None else range(len(subjects)))
    order = np.concatenate([rng.permutation(chosen) for _ in range(-(-count // len(chosen)))])[:count]
    looks = np.stack([rng.integers(0, len(axis), count) for axis in AXES], 1)
    jobs = [
        (subjects[s].sprites[STYLES[k[0]]], look_of(k), stable_seed(seed, i))
        for i, (s, k) in enumerate(zip(order, looks, strict=True))
    ]
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            images = list(pool.map(_draw, jobs, chunksize=256))
    else:
        images = [_draw(job) for job in jobs]
    images = np.stack(images) if images else np.zeros((0, SIDE, SIDE, 3), np.uint8)
    return Bank(images, order.astype(np.int32), looks.astype(np.int32))


def load_or_build(path: Path, subjects: list[Subject], count: int, seed: int, among: list[int], workers: int) -> Bank:
    """Read the bank at `path`; draw and save it if it is missing."""
    if path.exists():
        with np.load(path) as z:
            return Bank(z["images"], z["subject"], z["look"])
    bank = build(subjects, count, seed, workers, among)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, images=bank.images, subject=bank.subject, look=bank.look)
    return bank


def _draw(job: tuple[np.ndarray, Look, int]) -> np.ndarray:
    sprite, look, seed = job
    return np.asarray(compose(sprite, look, seed))
