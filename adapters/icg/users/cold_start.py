"""Cold start: a user with few events is a mixture of taste clusters. numpy only; knows no model.

Bayes over clusters: their shares are the prior, each engaged cover is evidence for the clusters near it. The mixture's mean is shorter
the fewer events there are. The refiner's gate is the length of the user embedding, so covers change less for such a user.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from icg.errors import CheckpointError, IcgError


@dataclass(frozen=True)
class TasteMixture:
    """`centroids` (K, D) unit, `share` (K,) sums to 1, `sharpness`: weight of one cover as evidence, `trust`: number of engaged covers
    at which a user's own embedding weighs as much as the mixture."""

    centroids: np.ndarray
    share: np.ndarray
    sharpness: float
    trust: float

    @classmethod
    def fit(cls, users: np.ndarray, clusters: int, sharpness: float, trust: float, seed: int = 0) -> TasteMixture:
        """k-means over user embeddings (N, D) unit. Raises IcgError with fewer users than clusters."""
        import faiss

        if len(users) < clusters:
            raise IcgError(f"users={len(users)}; allowed: at least as many as clusters, {clusters}")
        rows = np.ascontiguousarray(users, np.float32)
        means = faiss.Kmeans(rows.shape[1], clusters, niter=25, seed=seed, spherical=True, min_points_per_centroid=1)
        means.train(rows)
        nearest = (rows @ means.centroids.T).argmax(1)
        share = (np.bincount(nearest, minlength=clusters) + 1.0) / (len(rows) + clusters)
        return cls(means.centroids.copy(), share.astype(np.float32), sharpness, trust)

    def __call__(self, encoded: np.ndarray, evidence: np.ndarray, count: np.ndarray) -> np.ndarray:
        """own (B, D) embeddings (zeros without events), evidence (B, D) the sum of engaged covers minus that of rejected ones, count (B,)
        of both -> (B, D), at most unit length."""
        # One product a user: in one product for all, the last bits depend on their number.
        logits = np.log(self.share) + self.sharpness * (evidence[:, None] @ self.centroids.T)[:, 0]
        odds = np.exp(logits - logits.max(1, keepdims=True))
        mean = ((odds / odds.sum(1, keepdims=True))[:, None] @ self.centroids)[:, 0]
        trust = (count / (count + self.trust))[:, None]
        return (trust * encoded + (1 - trust) * mean).astype(np.float32)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write mixture.safetensors."""
        numbers = np.array([self.sharpness, self.trust], np.float32)
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(
            {"centroids": self.centroids, "share": self.share, "numbers": numbers}, Path(folder) / "mixture.safetensors"
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> TasteMixture:
        """Read a folder of `save_pretrained`. Raises CheckpointError if the file is missing."""
        path = Path(folder) / "mixture.safetensors"
        if not path.is_file():
            raise CheckpointError(f"mixture={str(path)!r} is missing; allowed: a folder of save_pretrained")
        parts = load_file(path)
        return cls(parts["centroids"], parts["share"], *map(float, parts["numbers"]))
