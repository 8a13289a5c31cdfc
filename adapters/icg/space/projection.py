"""Fits projections of features to 64 numbers: principal components, or directions in which users differ from one another.

A free projection overfits a few hundred users. Here directions come in closed form from CANDIDATES principal components, shrunk towards
a plain choice of them (regularised discriminant analysis, Friedman 1989, with users as classes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icg.errors import IcgError
from icg.models.dual import WIDTH
from icg.models.space import Projection
from icg.space.source import Behaviour

LEAST = 2 * WIDTH
"""Covers to fit on: with fewer, most of 64 directions are noise."""
CANDIDATES = 256
FEWEST_LIKES = 5
"""Engagements of a user that count as a class."""


@dataclass(frozen=True)
class Components:
    """`mean`, `deviation` (F,) standardise features; `vectors` (F, K) their first principal components, `values` (K,) their variances;
    `total`: the variance of all."""

    mean: np.ndarray
    deviation: np.ndarray
    vectors: np.ndarray
    values: np.ndarray
    total: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(N, F) -> (N, K)."""
        out: np.ndarray = ((features.astype(np.float32) - self.mean) / self.deviation) @ self.vectors
        return out


def principal(features: np.ndarray, parts: Sequence[int]) -> Components:
    """features (N, F); parts: widths of the encoder's parts, which get equal weights whatever their widths.

    Raises IcgError for fewer covers than LEAST or fewer than 64 features.
    """
    count, width = features.shape
    if count < LEAST:
        raise IcgError(
            f"covers={count} to fit a space on; allowed: at least {LEAST}. Smaller catalogues use the shipped space"
        )
    if width < WIDTH:
        raise IcgError(f"encoder of {width} features; allowed: at least {WIDTH}")
    x = features.astype(np.float32)
    weight = np.sqrt(np.repeat(parts, parts)).astype(np.float32)
    mean, deviation = x.mean(0), np.maximum(x.std(0), 1e-4) * weight
    x = (x - mean) / deviation
    values, vectors = np.linalg.eigh(x.T @ x / np.float32(count))
    first = np.argsort(-values)[: min(CANDIDATES, count - 1)]
    total = float(values.sum())
    return Components(mean, deviation, vectors[:, first], np.maximum(values[first], 1e-6 * total), total)


def plain(components: Components, power: float) -> Projection:
    """The first 64 components, divided by their deviation to this power: 0 leaves them as they are, 1 whitens them."""
    values = components.values[:WIDTH]
    turn = np.diag(values ** (-power / 2))
    return _projection(components, components.vectors[:, :WIDTH], turn, values)


def discriminant(
    components: Components, features: np.ndarray, behaviour: Behaviour, shrinkage: float, power: float
) -> Projection:
    """The 64 directions with the largest share of variance between users in that within users, each weighted by the root of that share.

    shrinkage in 0..1: how far the variance within users is drawn to that of unrelated directions. Engagements of one user with
    themselves are no variance between users. Falls back on `plain` without a user of FEWEST_LIKES engagements.
    """
    scale = components.values ** (-power / 2)
    y = components(features) * scale
    engaged = behaviour.take(behaviour.weight > 0)
    wide, users = len(scale), 0
    between, within = np.zeros((wide, wide)), np.zeros((wide, wide))
    # Popular covers are in the taste of all: without this centre the first direction would be popularity.
    y = y - y[engaged.cover].mean(0) if len(engaged.cover) else y
    for rows in engaged.rows(engaged.users):
        z = y[np.unique(engaged.cover[rows])].astype(np.float64)
        if len(z) >= FEWEST_LIKES:
            total, own = z.sum(0), z.T @ z
            between += (np.outer(total, total) - own) / (len(z) * (len(z) - 1))
            within += own / len(z)
            users += 1
    if not users:
        return plain(components, power)
    within = (1 - shrinkage) * within + shrinkage * np.eye(wide) * np.trace(within) / wide
    values, vectors = np.linalg.eigh(within / users)
    root = vectors / np.sqrt(values) @ vectors.T
    share, directions = np.linalg.eigh(root @ (between / users) @ root)
    first = np.argsort(-share)[:WIDTH]
    linear = scale[:, None] * (root @ directions[:, first] * np.sqrt(np.maximum(share[first], 0)))
    # Into orthonormal columns along which the covers' coordinates are uncorrelated, as the distance to the catalogue needs them.
    basis, turn = np.linalg.qr(linear)
    variance, rotation = np.linalg.eigh(basis.T @ (components.values[:, None] * basis))
    return _projection(components, components.vectors @ basis @ rotation, rotation.T @ turn, variance)


def _projection(components: Components, basis: np.ndarray, turn: np.ndarray, variance: np.ndarray) -> Projection:
    stored = basis.astype(np.float16).astype(np.float32)
    residual = max(components.total - float(variance.sum()), 1e-3 * components.total)
    arrays = (components.mean, components.deviation, stored, turn.astype(np.float32), variance.astype(np.float32))
    return Projection(*arrays, residual)
