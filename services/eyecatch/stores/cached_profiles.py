"""A read cache for a profile store on another machine, itself a ProfileStore. Bounded in age and in size.

An embedding is at most `max_age_s` old, counted from the start of its read. Writes of this process are visible at once.
"""

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from eyecatch.core.ports import Encoder, ProfileStore
from eyecatch.core.types import Event, Position, Profile, ProfileHeads, Vector


class CachedProfiles:
    """Caches the embeddings of at most `capacity` users (about 0.5 KB each), or that they have none; the oldest reads go first.

    `clock`: monotonic seconds. Use it only on the event loop's thread.
    """

    def __init__(
        self,
        store: ProfileStore,
        max_age_s: float = 0.2,
        capacity: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._max_age_s, self._capacity, self._clock = store, max_age_s, capacity, clock
        # In the order of reading, so that expired entries come first.
        self._known: OrderedDict[str, tuple[float, Vector | None]] = OrderedDict()
        self._version = 0
        self._writes = 0
        self.hits = self.misses = 0

    async def embedding(self, user_id: str, encoder: Encoder) -> Vector | None:
        """Raises the errors of the store; failures are not cached."""
        if encoder.version != self._version:
            self._known.clear()
            self._version = encoder.version
        now = self._clock()
        entry = self._known.get(user_id)
        if entry is not None and now < entry[0]:
            self.hits += 1
            return entry[1]
        self.misses += 1
        writes = self._writes
        embedding = await self._store.embedding(user_id, encoder)
        if writes == self._writes and encoder.version == self._version:  # else one of our writes may have changed it
            self._put(user_id, now, embedding)
        return embedding

    def _put(self, user_id: str, now: float, embedding: Vector | None) -> None:
        known = self._known
        known.pop(user_id, None)
        known[user_id] = (now + self._max_age_s, embedding)
        # Two for each read: expired entries go faster than new ones come, and no read pays for a sweep.
        for _ in range(2):
            oldest = next(iter(known))
            if len(known) > self._capacity or known[oldest][0] <= now:
                del known[oldest]
                if not known:
                    break

    def __len__(self) -> int:
        return len(self._known)

    async def profile(self, user_id: str) -> Profile | None:
        return await self._store.profile(user_id)

    async def absorb(self, events: Sequence[Event], encoder: Encoder, positions: Sequence[Position] = ()) -> int:
        try:
            return await self._store.absorb(events, encoder, positions)
        finally:
            self._drop({event.user_id for event in events})

    async def forget(self, user_id: str) -> bool:
        try:
            return await self._store.forget(user_id)
        finally:
            self._drop([user_id])

    def _drop(self, user_ids: Iterable[str]) -> None:
        """Call it after failed writes too: some of the users may be written."""
        self._writes += 1
        for user_id in user_ids:
            self._known.pop(user_id, None)

    async def events(self, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, Event]]:
        return await self._store.events(after, limit)

    async def user_count(self) -> int:
        return await self._store.user_count()

    def scan(self, batch: int = 1000) -> AsyncIterator[ProfileHeads]:
        return self._store.scan(batch)

    def engaged(self, item_ids: Sequence[str], batch: int = 1000) -> AsyncIterator[Sequence[str]]:
        return self._store.engaged(item_ids, batch)

    async def reencode(self, keys: Sequence[str], encoder: Encoder, always: bool = False) -> int:
        """Cached embeddings stay: they are of the current encoder; only with `always` they are read again."""
        try:
            return await self._store.reencode(keys, encoder, always)
        finally:
            if always:
                self._writes += 1
                self._known.clear()
