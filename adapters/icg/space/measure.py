"""Figures of a space that need no user: categories, titles, the domain, and the scale of each reward. Knows no file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from icg.models.space import Projection
from icg.space.source import Behaviour
from icg.users.crossing import Crossing

RIDGE = 0.01
FEWEST = 10
"""Covers of a category, in the test part, that are enough for a figure."""
AMONG, FIRST = 100, 5
CHANCE = FIRST / AMONG
LEAST_LIFT = 2.0
"""A relevance whose titles are found less than this many times as often as by chance has no weight."""
QUANTILES = (0.5, 0.9, 0.95, 0.99)
TASTES, NEAR = 100, 8


def crossing(rows: np.ndarray, own: np.ndarray, fit: np.ndarray, test: np.ndarray, seed: int) -> tuple[float, float]:
    """How alike the checkpoint's own space `own` (N, 64) and `rows` (N, 64), crossed into it, rank the `test` covers for a user: mean
    correlation of the two preferences; and that with another user's. Users are the NEAR test covers next to a random one."""
    to_own, rng = Crossing.fit(rows[fit], own[fit]), np.random.default_rng((seed, 19))
    rows, own = rows[test], own[test]
    picked = rng.permutation(len(rows))[:TASTES]
    near = np.argsort(-(rows[picked] @ rows.T), axis=1)[:, :NEAR]
    crossed, true = to_own(rows[near].mean(1)), own[near].mean(1)
    preferences = [_standard(users @ own.T) for users in (crossed, true)]
    alike = preferences[0] @ preferences[1].T / len(own)
    return float(alike.diagonal().mean()), float(np.roll(alike, 1, 1).diagonal().mean())


def _standard(scores: np.ndarray) -> np.ndarray:
    out: np.ndarray = (scores - scores.mean(1, keepdims=True)) / np.maximum(scores.std(1, keepdims=True), 1e-9)
    return out


def category_auc(
    rows: np.ndarray, categories: list[str], fit: np.ndarray, test: np.ndarray, seed: int
) -> tuple[float, float] | None:
    """Mean area under the ROC curve over categories ("Action|War" is two), by ridge regression on `fit` covers, on `test` covers; and the
    same with shuffled categories. None without a category of FEWEST covers and as many others."""
    names = [set(filter(None, text.split("|"))) for text in categories]
    counts = Counter(name for n in np.flatnonzero(test) for name in names[n])
    x = np.concatenate([rows, np.ones((len(rows), 1), rows.dtype)], 1).astype(np.float64)
    gram = x[fit].T @ x[fit]
    solve = np.linalg.solve(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), x[fit].T)
    rng, areas = np.random.default_rng((seed, 13)), []
    for name, count in sorted(counts.items()):
        has = np.array([name in own for own in names], float)
        if FEWEST <= count <= test.sum() - FEWEST:
            targets = np.stack([has[fit], rng.permutation(has[fit])], 1)
            scores = (x[test] @ (solve @ targets)).T
            areas.append([area(score, has[test] > 0) for score in scores])
    return tuple(np.mean(areas, 0).tolist()) if areas else None  # type: ignore[return-value]


def area(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of scores (N,) for a mask (N,) of some and not all; ties count half."""
    order = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(order[2])
    rank = (ends - (order[2] - 1) / 2)[order[1]]
    right = int(positive.sum())
    return float((rank[positive].mean() - (right + 1) / 2) / (len(scores) - right))


def title_retrieval(pictures: np.ndarray, titles: np.ndarray, seed: int) -> tuple[float, float]:
    """Share of covers whose own title is among the first FIRST of AMONG titles of other covers, drawn at random, and the same for another
    cover's title in its place: the control. pictures, titles (N, D) unit rows; a title without a known word counts as not found.
    """
    rng, own_first, other_first = np.random.default_rng((seed, 14)), [], []
    count = len(pictures)
    for start in range(0, count, 256):
        here = np.arange(start, min(start + 256, count))
        among = rng.integers(0, count, (len(here), AMONG + 1))
        among[:, 0] = here
        scores = np.einsum("nd,nkd->nk", pictures[here], titles[among])
        known = titles[here].any(1)
        for place, out in ((0, own_first), (1, other_first)):
            rest = np.delete(scores, 1 - place, 1)
            own = rest[:, :1]
            ahead = (rest[:, 1:] > own).sum(1) + 0.5 * (rest[:, 1:] == own).sum(1)
            out.append((ahead < FIRST) & (known if place == 0 else titles[among[:, 1]].any(1)))
    return float(np.concatenate(own_first).mean()), float(np.concatenate(other_first).mean())


def at_chance(share: float, count: int) -> bool:
    """Whether the `share` of `count` covers with their title found is below LEAST_LIFT times chance, or within three standard errors."""
    return share < max(LEAST_LIFT * CHANCE, CHANCE + 3 * (CHANCE * (1 - CHANCE) / max(count, 1)) ** 0.5)


def domain(projection: Projection, features: np.ndarray, fit: np.ndarray, held: np.ndarray) -> dict[str, float]:
    """Quantiles of the distances to the catalogue of covers `held` out of the fit, and of those it was fitted on."""
    parts = {"held_out": features[held], "fitted": features[fit]}
    return {
        f"{name}_{quantile}": float(np.quantile(projection.distances(rows), quantile))
        for name, rows in parts.items()
        for quantile in QUANTILES
    }


def scale(values: np.ndarray) -> dict[str, float] | None:
    """Mean and deviation of finite values; None for fewer than two, or without a spread."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2 or finite.std() < 1e-6:
        return None
    return {"mean": round(float(finite.mean()), 6), "deviation": round(float(finite.std()), 6)}


def scales(
    rewards: Mapping[str, np.ndarray], users: np.ndarray, covers: np.ndarray, chance: bool
) -> dict[str, dict[str, float]]:
    """Mean and deviation of every reward that could be measured. users (P, 64), covers (N, 64); chance: relevance gets the weight 0."""
    measured = {name: scale(values) for name, values in rewards.items()}
    measured["preference"] = scale((users @ covers.T).ravel()) if len(users) else None
    out = {name: values for name, values in measured.items() if values is not None}
    if chance and "relevance" in out:
        out["relevance"]["weight"] = 0.0
    return out


def users_of(behaviour: Behaviour, most: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Covers and weights of the events of at most `most` users with an engagement, oldest first."""
    rows = behaviour.rows(behaviour.users)
    engaged = [part for part in rows if (behaviour.weight[part] > 0).any()]
    chosen = np.random.default_rng((seed, 15)).permutation(len(engaged))[:most]
    return [(behaviour.cover[engaged[n]], behaviour.weight[engaged[n]]) for n in chosen]
