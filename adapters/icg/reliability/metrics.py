"""Metrics of a judge's "available": precision, recall, F1, AP, confusion, calibration. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True, eq=False)
class Quality:
    """Metrics of "available" at `threshold`; `confusion` (classes, classes), rows true, and `accuracy` are of the likeliest class.

    ap: average precision over all thresholds. error: expected calibration error (arXiv:1706.04599, equation 3), 0 is best.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    ap: float
    error: float
    accuracy: float
    confusion: np.ndarray


def quality(probabilities: np.ndarray, labels: np.ndarray, threshold: float) -> Quality:
    """probabilities (N, C), labels (N,) of 0..C-1, where 0 is available."""
    score, good = probabilities[:, 0], labels == 0
    predicted = score >= threshold
    hits = float((predicted & good).sum())
    likeliest = probabilities.argmax(1)
    confusion = np.zeros((probabilities.shape[1],) * 2, np.int64)
    np.add.at(confusion, (labels, likeliest), 1)
    return Quality(
        threshold=threshold,
        precision=hits / max(float(predicted.sum()), 1.0),
        recall=hits / max(float(good.sum()), 1.0),
        f1=2 * hits / max(float(predicted.sum() + good.sum()), 1.0),
        ap=average_precision(score, good),
        error=calibration_error(score, good),
        accuracy=float((likeliest == labels).mean()),
        confusion=confusion,
    )


def average_precision(score: np.ndarray, good: np.ndarray) -> float:
    """Mean of the precision at each good row, ordered by score; rows of equal score share one precision. 0 without a good row."""
    order = np.argsort(-score, kind="stable")
    last = _last_of_equal(score[order])
    hits = np.cumsum(good[order])[last]
    new = np.diff(hits, prepend=0)
    return float((hits / (last + 1) * new).sum() / max(good.sum(), 1))


def calibration_error(score: np.ndarray, good: np.ndarray) -> float:
    """Mean difference, over bins of equal width, between the mean score and the share of good rows."""
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    masks = [(bins == b) for b in range(BINS)]
    return float(sum(abs(score[m].mean() - good[m].mean()) * m.mean() for m in masks if m.any()))


def best_threshold(score: np.ndarray, good: np.ndarray) -> float:
    """The threshold of the highest F1."""
    order = np.argsort(-score, kind="stable")
    last = _last_of_equal(score[order])
    f1 = 2 * np.cumsum(good[order])[last] / (last + 1 + good.sum())
    return float(score[order][last[int(f1.argmax())]])


def softmax(logits: np.ndarray) -> np.ndarray:
    """(N, C) logits -> probabilities."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(1, keepdims=True)
    return probabilities


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The divisor of logits (N, C) with the least cross-entropy of the labels (arXiv:1706.04599, section 4.2), of 121 in 0.25..8."""
    candidates = np.geomspace(0.25, 8, 121)
    losses = []
    for t in candidates:
        z = logits / t
        z = z - z.max(1, keepdims=True)
        losses.append(float((np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), labels]).mean()))
    return float(candidates[int(np.argmin(losses))])


def _last_of_equal(ordered: np.ndarray) -> np.ndarray:
    """The last index of each run of equal scores: no threshold separates them."""
    return np.append(np.nonzero(np.diff(ordered))[0], len(ordered) - 1)
