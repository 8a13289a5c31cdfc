"""How well a judge tells available pictures from others: precision, recall, F1, AP, confusion, calibration. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True, eq=False)
class Quality:
    """Of `available` at `threshold`, but for `confusion` (classes, classes), rows true, of the likeliest class.

    ap: average precision over all thresholds. error: expected calibration error (arXiv:1706.04599, equation 3), 0 best.
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
    """probabilities (N, C), labels (N,) of 0..C-1, of which 0 is available."""
    score, good = probabilities[:, 0], labels == 0
    said = score >= threshold
    right = float((said & good).sum())
    precision, recall = right / max(float(said.sum()), 1.0), right / max(float(good.sum()), 1.0)
    f1 = 2 * right / max(float(said.sum() + good.sum()), 1.0)
    likeliest = probabilities.argmax(1)
    confusion = np.zeros((probabilities.shape[1],) * 2, np.int64)
    np.add.at(confusion, (labels, likeliest), 1)
    return Quality(
        threshold, precision, recall, f1, average_precision(score, good), calibration_error(score, good),
        float((likeliest == labels).mean()), confusion,
    )  # fmt: skip


def average_precision(score: np.ndarray, good: np.ndarray) -> float:
    """Mean of the precision at each good one, best scored first; equal scores share theirs. 0 without a good one."""
    order = np.argsort(-score, kind="stable")
    last = _partings(score[order])
    found = np.cumsum(good[order])[last]
    gained = np.diff(found, prepend=0)
    return float((found / (last + 1) * gained).sum() / max(good.sum(), 1))


def calibration_error(score: np.ndarray, good: np.ndarray) -> float:
    """Mean distance, over bins of equal width, of what was said from how often it was so."""
    which = np.minimum((score * BINS).astype(int), BINS - 1)
    parts = [(which == b) for b in range(BINS)]
    return float(sum(abs(score[p].mean() - good[p].mean()) * p.mean() for p in parts if p.any()))


def best_threshold(score: np.ndarray, good: np.ndarray) -> float:
    """That of the highest F1."""
    order = np.argsort(-score, kind="stable")
    last = _partings(score[order])
    f1 = 2 * np.cumsum(good[order])[last] / (last + 1 + good.sum())
    return float(score[order][last[int(f1.argmax())]])


def softmax(logits: np.ndarray) -> np.ndarray:
    """(N, C) logits -> probabilities."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    found: np.ndarray = powers / powers.sum(1, keepdims=True)
    return found


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What to divide logits (N, C) by so that their softmax is least surprised by the labels (arXiv:1706.04599, section 4.2)."""
    tried = np.geomspace(0.25, 8, 121)
    losses = []
    for t in tried:
        z = logits / t
        z = z - z.max(1, keepdims=True)
        losses.append(float((np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), labels]).mean()))
    return float(tried[int(np.argmin(losses))])


def _partings(ordered: np.ndarray) -> np.ndarray:
    """The last place of each run of equal scores: no threshold parts them."""
    return np.append(np.nonzero(np.diff(ordered))[0], len(ordered) - 1)
