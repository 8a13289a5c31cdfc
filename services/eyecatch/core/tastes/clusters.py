"""Taste clusters: groups of users that covers are generated for, as centroids of user embeddings. Knows no store and no fitting.

Fixed directions (generation 0) are used until there are enough users to fit clusters to.
"""

import json
import struct
from dataclasses import dataclass, field
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from eyecatch.core.errors import StoreDamaged
from eyecatch.core.types import EMBEDDING_DIM, Vector

PLANES = 5


@dataclass(frozen=True, eq=False)
class TasteClusters:
    """K clusters by id: unit `centroids` (K, D) and `shares` (K,) of the users, both zero for a cluster with too few users.

    generation: the number of fits; a cluster keeps its id in all fits of one `encoder` version. users: how many were fitted to, at
    `fitted_at`. drift (K,): 1 - cosine of the old and the new centroid, 1 for a cluster that is new or removed. moved: the share of
    users whose cluster changed in the last fit.
    """

    centroids: Vector
    shares: Vector
    generation: int = 0
    encoder: int = 0
    users: int = 0
    fitted_at: float = 0.0
    drift: Vector = field(default_factory=lambda: np.zeros(0, np.float32))
    moved: float = 0.0

    @property
    def name(self) -> str:
        """Cluster ids have the same meaning as long as the name is the same."""
        return f"{self.encoder:04x}" if self.generation else "directions"

    @property
    def alive(self) -> int:
        return int(np.count_nonzero(self.shares))

    def nearest(self, embeddings: Vector) -> NDArray[np.intp]:
        """(N, D) -> ids (N,)."""
        return np.asarray(np.where(self.shares > 0, embeddings @ self.centroids.T, -np.inf).argmax(1))

    def of(self, embedding: Vector) -> int:
        """The id of the cluster of a user embedding (D,), or -1 for a user without a taste."""
        return int(self.nearest(embedding[None])[0]) if embedding.any() else -1

    def to_bytes(self) -> bytes:
        """A header of JSON, then little-endian float32: centroids, shares, drift."""
        fields = {name: getattr(self, name) for name in ("generation", "encoder", "users", "fitted_at", "moved")}
        header = json.dumps({"clusters": len(self.shares), **fields}).encode()
        numbers = np.concatenate([self.centroids.ravel(), self.shares, self.drift]).astype("<f4")
        return struct.pack("<I", len(header)) + header + numbers.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "TasteClusters":
        """Raises StoreDamaged."""
        try:
            (length,) = struct.unpack_from("<I", data)
            header = json.loads(data[4 : 4 + length])
            count = header.pop("clusters")
            numbers = np.frombuffer(data[4 + length :], "<f4").astype(np.float32)
            centroids, shares, drift = np.split(numbers, [count * EMBEDDING_DIM, count * (EMBEDDING_DIM + 1)])
            if len(drift) != count or not count or not np.isfinite(numbers).all():
                raise ValueError(f"{len(numbers)} numbers for {count} clusters")
            return cls(centroids.reshape(count, EMBEDDING_DIM), shares, drift=drift, **header)
        except (ValueError, KeyError, TypeError, struct.error) as error:
            raise StoreDamaged(f"the stored taste clusters cannot be read ({error}); fit them again") from error


@cache
def directions() -> TasteClusters:
    """2**PLANES fixed directions, the same in every process: the sums of PLANES random vectors with all their signs."""
    planes = np.random.default_rng(20_261).standard_normal((PLANES, EMBEDDING_DIM))
    signs = np.array(list(product((-1, 1), repeat=PLANES)))
    centroids = (signs @ planes).astype(np.float32)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    count = len(signs)
    return TasteClusters(centroids, np.full(count, 1 / count, np.float32), drift=np.zeros(count, np.float32))


class Tastes:
    """Holds the clusters in use; `current` is replaced after each fit."""

    def __init__(self) -> None:
        self.current = directions()
