"""How spoiled a picture looks: smears, remains of an autoencoder, banding and halos, as one number in 0..1, without a reference.

A small network reads statistics of each place at several scales and says how probably it is spoiled; the worst places count. It was
trained on damage of pictures whose damage is known (`icg train artifacts`). Runs in numpy.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from icg.checkpoints import weights
from icg.compose.layout import blurred
from icg.errors import CheckpointError

LONGEST = 384
"""Longer edge in pixels at which pictures are read; smaller ones as they are."""
STRIDE, WINDOW, AROUND = 12, 10, 30
"""Pixels between places, and radii of the windows of a place and of its surroundings."""
WORST = 0.08
"""Share of the places whose mean is the answer."""
BANDS = (1, 2, 4, 8)
"""Radii of the blurs whose differences are the frequency bands."""
HIDDEN = 64
FOLDER = Path(__file__).parent / "weights"
PART = "artifacts"


def artifacts(picture: Image.Image, network: dict[str, np.ndarray] | None = None) -> float:
    """In 0..1 for a picture of any size and mode: 0 clean, 1 spoiled. network: None for the shipped one."""
    places = np.sort(probabilities(statistics(picture), network or load()).ravel())
    return round(float(places[-max(1, round(WORST * len(places))) :].mean()), 4)


def statistics(picture: Image.Image) -> np.ndarray:
    """(h, w, F) of places STRIDE pixels apart: energies of bands here and around, how they go together, flatness, steps and colour."""
    small = picture.convert("RGB")
    if max(small.size) > LONGEST:
        small.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    colours = np.asarray(small, np.float32)
    grey = colours @ np.array([0.299, 0.587, 0.114], np.float32)
    levels = [grey, *(_mean(grey, radius) for radius in BANDS)]
    bands = [fine - coarse for fine, coarse in pairwise(levels)]
    squares = [_mean(band**2, WINDOW) for band in bands]
    rows = [np.log(0.1 + square) for square in squares]
    rows += [np.log(0.1 + _mean(square, AROUND)) for square in squares]
    for a, b in ((0, 1), (0, 2), (1, 2), (1, 3)):
        rows.append(_mean(bands[a] * bands[b], WINDOW) / np.sqrt((squares[a] + 0.05) * (squares[b] + 0.05)))
    rows += [np.log((squares[n] + 0.05) / (_mean(np.abs(bands[n]), WINDOW) ** 2 + 0.05)) for n in (0, 2)]
    rows.append(_mean((np.abs(bands[0]) < 0.4).astype(np.float32), WINDOW))
    rows.append(np.log(0.002 + _mean(_steps(grey), WINDOW)))
    chroma = colours[..., 0] - colours[..., 2]
    rows.append(np.log(0.1 + _mean((chroma - _mean(chroma, 2)) ** 2, WINDOW)))
    half = min(STRIDE // 2, grey.shape[0] - 1, grey.shape[1] - 1)
    return np.stack(rows, -1)[half::STRIDE, half::STRIDE]


def probabilities(statistics: np.ndarray, network: dict[str, np.ndarray]) -> np.ndarray:
    """(...,) for statistics (..., F)."""
    x = (statistics - network["mean"]) / network["deviation"]
    for n in range(2):
        x = np.maximum(x @ network[f"{n}.weight"].T + network[f"{n}.bias"], 0)
    logits = x @ network["2.weight"].T + network["2.bias"]
    result: np.ndarray = 1 / (1 + np.exp(-logits[..., 0].clip(-30, 30)))
    return result


@lru_cache(1)
def load(folder: Path = FOLDER) -> dict[str, np.ndarray]:
    """The network of `icg train artifacts`. Raises CheckpointError if its file is missing or holds something else."""
    from safetensors.numpy import load_file

    shapes = weights(PART, folder, PART)
    width = shapes.get("mean", (0,))[0]
    expected: dict[str, tuple[int, ...]] = {"mean": (width,), "deviation": (width,)}
    for n, (enter, leave) in enumerate(((width, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1))):
        expected |= {f"{n}.weight": (leave, enter), f"{n}.bias": (leave,)}
    if shapes != expected:
        raise CheckpointError(f"{PART}={str(folder)!r}: tensors {shapes}; allowed: those of icg train artifacts")
    return {name: array.astype(np.float32) for name, array in load_file(folder / f"{PART}.safetensors").items()}


def _mean(values: np.ndarray, radius: int) -> np.ndarray:
    """Mean over a square, of what of it is inside the picture."""
    padded = np.pad(values, radius, "symmetric") if radius < min(values.shape) else np.pad(values, radius, "edge")
    inner: np.ndarray = blurred(padded.astype(np.float64), radius)[radius:-radius, radius:-radius]
    return inner


def _steps(grey: np.ndarray) -> np.ndarray:
    """(h, w): where a small step stands alone between flat parts, as in a gradient of too few levels."""
    steps = np.zeros(grey.shape, np.float32)
    for axis in (0, 1):
        change = np.abs(np.diff(grey, axis=axis, append=np.take(grey, [-1], axis)))
        flat = change < 0.8
        step = (change > 2) & (change < 16) & np.roll(flat, 1, axis) & np.roll(flat, -1, axis)
        steps += step
    return steps
