"""Taste clusters: groups of users that covers are generated for, as centroids of user embeddings. Knows no store and no fitting.

Until there are users enough to learn from, fixed directions stand in: generation 0.
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
    """K clusters by id: unit `centroids` (K, D) and `shares` (K,) of the users, both zero for a cluster that too few users have.

    `generation` counts fits; in all of them of one `encoder` (its version) a cluster keeps its id. `users` were fitted to at
    `fitted_at`. Drift since the generation before: `drift` (K,) is 1 - cosine of the old and the new centroid (1 for a cluster that
    came or went), `moved` the share of users who are in another cluster now.
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
        """Ids mean the same as long as this does."""
        return f"{self.encoder:04x}" if self.generation else "directions"

    @property
    def alive(self) -> int:
        return int(np.count_nonzero(self.shares))

    def nearest(self, embeddings: Vector) -> NDArray[np.intp]:
        """(N, D) -> ids (N,)."""
        return np.asarray(np.where(self.shares > 0, embeddings @ self.centroids.T, -np.inf).argmax(1))

    def of(self, embedding: Vector) -> int:
        """The id of the cluster of a user embedding (D,), -1 for a user without a taste."""
        return int(self.nearest(embedding[None])[0]) if embedding.any() else -1

    def to_bytes(self) -> bytes:
        """A header of JSON, then little-endian float32: centroids, shares, drift."""
        about = json.dumps(
            {
                "clusters": len(self.shares), "generation": self.generation, "encoder": self.encoder, "users": self.users,
                "fitted_at": self.fitted_at, "moved": self.moved,
            }
        ).encode()  # fmt: skip
        numbers = np.concatenate([self.centroids.ravel(), self.shares, self.drift]).astype("<f4")
        return struct.pack("<I", len(about)) + about + numbers.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "TasteClusters":
        """Raises StoreDamaged."""
        try:
            (length,) = struct.unpack_from("<I", data)
            about = json.loads(data[4 : 4 + length])
            count = about.pop("clusters")
            numbers = np.frombuffer(data[4 + length :], "<f4").astype(np.float32)
            centroids, shares, drift = np.split(numbers, [count * EMBEDDING_DIM, count * (EMBEDDING_DIM + 1)])
            if len(drift) != count or not count or not np.isfinite(numbers).all():
                raise ValueError(f"{len(numbers)} numbers for {count} clusters")
            return cls(centroids.reshape(count, EMBEDDING_DIM), shares, drift=drift, **about)
        except (ValueError, KeyError, TypeError, struct.error) as error:
            raise StoreDamaged(f"the stored taste clusters cannot be read ({error}); fit them again") from error


@cache
def directions() -> TasteClusters:
    """2**PLANES directions, the same everywhere and for ever: the sums of PLANES random vectors with all their signs."""
    planes = np.random.default_rng(20_261).standard_normal((PLANES, EMBEDDING_DIM))
    signs = np.array(list(product((-1, 1), repeat=PLANES)))
    centroids = (signs @ planes).astype(np.float32)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    count = len(signs)
    return TasteClusters(centroids, np.full(count, 1 / count, np.float32), drift=np.zeros(count, np.float32))


class Tastes:
    """The clusters in use, replaced whole whenever others were fitted."""

    def __init__(self) -> None:
        self.current = directions()
