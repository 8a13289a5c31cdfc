"""Stored profiles when walking over all users: one that is damaged must not end a walk over millions. Knows no database."""

from collections.abc import Mapping

import numpy as np

from eyecatch.core.errors import StoreError
from eyecatch.core.types import EMBEDDING_DIM, Profile, ProfileHeads
from eyecatch.stores import profile_codec as codec

# As codec.py lays it out; a whole batch is decoded at once, for this runs beside the fast path.
_HEAD = np.dtype(
    [("version", "u1"), ("encoder", "<u2"), ("dim", "u1"), ("scale", "<f4"), ("rows", "i1", (EMBEDDING_DIM,))]
)


def heads(rows: Mapping[str, bytes]) -> ProfileHeads:
    """By key at least the head of a profile -> those that can be read."""
    whole = {key: data[: codec.HEAD_BYTES] for key, data in rows.items() if len(data) >= codec.HEAD_BYTES}
    table = np.frombuffer(b"".join(whole.values()), _HEAD)
    scale = table["scale"]
    good = (table["version"] == codec.VERSION) & (table["dim"] == EMBEDDING_DIM) & np.isfinite(scale) & (scale >= 0)
    table = table[good]
    keys = [key for key, readable in zip(whole, good.tolist(), strict=True) if readable]
    embeddings = table["rows"].astype(np.float32) * (table["scale"][:, None] / np.float32(127))
    return ProfileHeads(keys, table["encoder"].astype(np.int64), embeddings)


def stale(rows: Mapping[str, bytes], version: int, names: codec.Names | None = None) -> list[Profile]:
    """Of the profiles by key, those that can be read and that an encoder of another version made; `user_id` is the key."""
    found = []
    for key, data in rows.items():
        try:
            profile = codec.decode(key, data, names)
        except StoreError:
            continue
        if profile.encoder != version:
            found.append(profile)
    return found
