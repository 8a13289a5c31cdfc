"""Priors of users, from the heads of their own vectors. Knows no profile."""

import time
from collections.abc import Callable, Sequence

from eyecatch.core.errors import Unavailable
from eyecatch.core.types import Prior
from eyecatch.stores import vector_codec as codec
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Link

LOOK_S = 5.0


class VectorHeads:
    """Reads a head for each user, but only of a store that has vectors: others must not pay for it.

    In the first LOOK_S seconds of the first vector of a store, other processes may encode a user without the prior.
    """

    def __init__(self, link: Link, clock: Callable[[], float] = time.monotonic) -> None:
        self._link, self._clock = link, clock
        self._any, self._next_look = False, -LOOK_S

    async def mark(self) -> None:
        """Tell all processes, before the first vector is written, that there are vectors."""
        if not self._any:
            await self._link.one("SET", keys.ANY_VECTOR, 1)
            self._any = True

    async def priors(self, profile_keys: Sequence[str], encoder: int) -> list[Prior | None]:
        """The prior of each user among the embeddings of this encoder version, or None."""
        if not self._any and self._clock() >= self._next_look:
            self._next_look = self._clock() + LOOK_S
            try:
                self._any = bool(await self._link.quick("EXISTS", keys.ANY_VECTOR))
            except Unavailable:  # the node of the mark must not stop the users of other nodes
                self._next_look = self._clock()
        if not self._any:
            return [None] * len(profile_keys)
        heads = await self._link.many(
            [("GETRANGE", keys.vector_of(key), 0, codec.HEAD_BYTES - 1) for key in profile_keys]
        )
        return [codec.prior(head, encoder) for head in heads]
