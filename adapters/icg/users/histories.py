"""User embeddings from cover embeddings and the weights of the user's actions. numpy only, torch-free."""

from __future__ import annotations

import numpy as np

from icg.errors import IcgError

WINDOW = 32
"""Events of a user that the encoder reads; older ones enter through a carried sum, if there is one."""
DWELL_MS = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
GAP_S = (1, 60, 600, 3_600, 6 * 3_600, 24 * 3_600, 7 * 24 * 3_600)
"""Upper bounds of the buckets of dwell time and of the time since the previous event."""


def user_embedding(cover_embeddings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The normalised weighted sum: cover_embeddings (n, D), weights (n,) -> (D,) float32, unit or zeros.

    Positive weights move towards a cover, negative ones away. No covers, or weights that cancel, give zeros: a cold user.
    Raises IcgError for other shapes and for NaN or infinity.
    """
    covers = np.asarray(cover_embeddings, np.float32)
    scale = np.asarray(weights, np.float32)
    if covers.ndim != 2 or scale.shape != covers.shape[:1]:
        raise IcgError(f"cover_embeddings {covers.shape} with weights {scale.shape}; allowed: (n, D) with (n,)")
    if not (np.isfinite(covers).all() and np.isfinite(scale).all()):
        raise IcgError("cover_embeddings or weights hold NaN or infinity; allowed: finite numbers")
    total = (scale[:, None] * covers).sum(0, dtype=np.float32)
    norm = float(np.linalg.norm(total))
    return total / norm if norm > 1e-6 else np.zeros_like(total)
