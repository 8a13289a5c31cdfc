"""A user's own vector and its prior <-> bytes: a fixed little-endian layout that starts with its version. Knows no database.

head    version u8, encoder u16 (0: no prior), prior float16 (D,)          what encoding a user reads
values  float32 (W,)                                                       what fitting a map reads
"""

import struct
from collections.abc import Mapping

import numpy as np

from eyecatch.core.types import EMBEDDING_DIM, UserVectorRows, Vector

VERSION = 1
_HEAD = struct.Struct("<BH")
HEAD_BYTES = _HEAD.size + 2 * EMBEDDING_DIM


def head(prior: Vector | None, encoder: int) -> bytes:
    """HEAD_BYTES of a prior (D,), at most unit length, among the embeddings of this encoder version; or of none."""
    if prior is None or not prior.any():
        return _HEAD.pack(VERSION, 0) + bytes(2 * EMBEDDING_DIM)
    return _HEAD.pack(VERSION, encoder) + prior.astype("<f2").tobytes()


def encode(values: Vector, prior: Vector | None, encoder: int) -> bytes:
    """The head, then `values` (W,)."""
    return head(prior, encoder) + raw(values)


def raw(values: Vector) -> bytes:
    """The bytes after the head."""
    return values.astype("<f4").tobytes()


def prior(data: bytes | None, encoder: int) -> Vector | None:
    """The prior (D,) in a head, or None if there is none for this encoder version."""
    if data is None or len(data) < HEAD_BYTES or _HEAD.unpack_from(data) != (VERSION, encoder):
        return None
    return np.frombuffer(data, "<f2", EMBEDDING_DIM, _HEAD.size).astype(np.float32)


def rows(page: Mapping[str, bytes]) -> UserVectorRows:
    """The vectors of a page by key. Left out are those of another version of the layout, and of another width than the first."""
    good = {key: data for key, data in page.items() if len(data) > HEAD_BYTES and data[0] == VERSION}
    size = len(next(iter(good.values()), bytes(HEAD_BYTES)))
    whole = {key: data[HEAD_BYTES:] for key, data in good.items() if len(data) == size}
    numbers = np.frombuffer(b"".join(whole.values()), "<f4").astype(np.float32)
    return UserVectorRows(list(whole), numbers.reshape(len(whole), (size - HEAD_BYTES) // 4))
