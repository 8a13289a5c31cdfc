"""A user's own vector and its prior <-> bytes: a fixed little-endian layout that starts with its version. Knows no database.

head    version u8, encoder u16 (0: no prior), prior float16 (D,)          what encoding a user reads
values  float32 (W,)                                                       what fitting a map reads
"""

import struct
from collections.abc import Mapping

import numpy as np

from eyecatch.core.types import EMBEDDING_DIM, Prior, UserVectorRows, Vector

VERSION = 1
_HEAD = struct.Struct("<BHB")
HEAD_BYTES = _HEAD.size + 2 * EMBEDDING_DIM


def head(prior: Prior | None, encoder: int) -> bytes:
    """HEAD_BYTES of a prior among the embeddings of this encoder version, or of none."""
    if prior is None:
        return _HEAD.pack(VERSION, 0, 0) + bytes(2 * EMBEDDING_DIM)
    return _HEAD.pack(VERSION, encoder, prior.trust) + prior.row.astype("<f2").tobytes()


def encode(values: Vector, prior: Prior | None, encoder: int) -> bytes:
    """The head, then `values` (W,)."""
    return head(prior, encoder) + raw(values)


def raw(values: Vector) -> bytes:
    """The bytes after the head."""
    return values.astype("<f4").tobytes()


def unpacked(data: bytes) -> Vector:
    """The vector (W,) of `raw`."""
    return np.frombuffer(data, "<f4").astype(np.float32)


def prior(data: bytes | None, encoder: int) -> Prior | None:
    """The prior in a head, or None if there is none for this encoder version."""
    if data is None or len(data) < HEAD_BYTES:
        return None
    version, of, trust = _HEAD.unpack_from(data)
    if (version, of) != (VERSION, encoder):
        return None
    return Prior(np.frombuffer(data, "<f2", EMBEDDING_DIM, _HEAD.size).astype(np.float32), trust)


def rows(page: Mapping[str, bytes]) -> UserVectorRows:
    """The vectors of a page by key, as wide as the first. Those that cannot be read are left out."""
    good = {key: data for key, data in page.items() if len(data) > HEAD_BYTES and data[0] == VERSION}
    width = next((size // 4 for data in good.values() if (size := len(data) - HEAD_BYTES) % 4 == 0), 0)
    whole = {key: data[HEAD_BYTES:] for key, data in good.items() if len(data) == HEAD_BYTES + 4 * width}
    vectors = np.frombuffer(b"".join(whole.values()), "<f4").astype(np.float32).reshape(len(whole), width)
    readable = np.isfinite(vectors).all(axis=1)
    keys = list(whole)
    return UserVectorRows([keys[n] for n in np.flatnonzero(readable).tolist()], vectors[readable])
