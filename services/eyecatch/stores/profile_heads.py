"""Decoding many stored profiles in a scan over all users, which skips damaged ones. Knows no database."""

from collections.abc import Mapping

import numpy as np

from eyecatch.core.errors import StoreError
from eyecatch.core.types import EMBEDDING_DIM, Profile, ProfileHeads
from eyecatch.stores import profile_codec as codec

# The head of profile_codec.py. A whole batch is decoded at once, because the fast path runs beside it.
_HEAD = np.dtype(
    [("version", "u1"), ("encoder", "<u2"), ("dim", "u1"), ("scale", "<f4"), ("rows", "i1", (EMBEDDING_DIM,))]
)


def heads(rows: Mapping[str, bytes]) -> ProfileHeads:
    """Heads (or whole profiles) by key -> those that can be read."""
    whole = {key: data[: codec.HEAD_BYTES] for key, data in rows.items() if len(data) >= codec.HEAD_BYTES}
    table = np.frombuffer(b"".join(whole.values()), _HEAD)
    scale = table["scale"]
    good = (table["version"] == codec.VERSION) & (table["dim"] == EMBEDDING_DIM) & np.isfinite(scale) & (scale >= 0)
    table = table[good]
    keys = [key for key, readable in zip(whole, good.tolist(), strict=True) if readable]
    embeddings = table["rows"].astype(np.float32) * (table["scale"][:, None] / np.float32(127))
    return ProfileHeads(keys, table["encoder"].astype(np.int64), embeddings)


def stale(rows: Mapping[str, bytes], version: int | None, names: codec.Names | None = None) -> list[Profile]:
    """Those of the profiles by key that can be read and whose embedding has another version than `version`, None for all of them; their
    `user_id` is the key."""
    profiles = []
    for key, data in rows.items():
        try:
            profile = codec.decode(key, data, names)
        except StoreError:
            continue
        if profile.encoder != version:
            profiles.append(profile)
    return profiles
