"""The users of an import -> a taste: each is encoded once, after all rows, with the covers that there are then. Knows no table."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from eyecatch.core.ports import Encoder, ProfileStore
from eyecatch.core.types import EMBEDDING_DIM, Event, Vector


class Later:
    """An Encoder of no version: profiles that it wrote are stale for every other one.

    So after an import that was interrupted a server encodes these users when they are read, and its sweep for good.
    """

    version = 0

    def __call__(self, users: Sequence[Sequence[Event]], embeddings: Mapping[str, Vector]) -> Vector:
        return np.zeros((len(users), EMBEDDING_DIM), np.float32)


LATER = Later()


async def encode_users(
    profiles: ProfileStore, encoder: Encoder, on_progress: Callable[[], None] = lambda: None, always: bool = True
) -> int:
    """Encode users again, a thousand at a time: every one, or without `always` those of another encoder; returns how many.

    `always` is for new covers: without it a user would have no taste, or one of fewer covers, until their next event. Raises
    Unavailable, StoreFull.
    """
    count = 0
    async for heads in profiles.scan():
        keys = (
            heads.keys
            if always
            else [heads.keys[n] for n in np.flatnonzero(heads.encoders != encoder.version).tolist()]
        )
        if keys:
            count += await profiles.reencode(keys, encoder, always=always)
        on_progress()
    return count
