"""Embeddings of covers as bytes: little-endian float16. User embeddings are in profile_codec.py."""

import numpy as np

from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import EMBEDDING_DIM, Vector


def pack(embedding: Vector) -> bytes:
    """(D,) -> 2*D bytes. Raises InvalidInput for another shape or a number that is not finite."""
    vector = np.asarray(embedding, np.float32)
    if vector.shape != (EMBEDDING_DIM,) or not np.isfinite(vector).all() or np.abs(vector).max() > 1e4:
        raise InvalidInput.of("embedding", vector.shape, f"{EMBEDDING_DIM} finite numbers of a unit vector")
    return vector.astype("<f2").tobytes()


def unpack(blob: bytes) -> Vector:
    """2*D bytes -> (D,) float32, read-only because it is shared by caches."""
    vector: Vector = np.frombuffer(blob, "<f2").astype(np.float32)
    vector.flags.writeable = False
    return vector
