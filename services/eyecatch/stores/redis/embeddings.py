"""Embeddings of covers and items for encoding users: read in pipelines, cached for seconds. Knows no user.

Other processes change the catalogue too, so entries expire after `max_age_s`; changes of this process are visible at once.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from eyecatch.core.types import Event, Origin, Vector
from eyecatch.stores.redis import keys
from eyecatch.stores.redis.link import Link
from eyecatch.stores.redis.records import cover_from

Key = tuple[bool, str]
"""(whether it is a cover, its id or the item's)"""


class CatalogEmbeddings:
    def __init__(
        self, link: Link, max_age_s: float = 5.0, capacity: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._link, self._max_age_s, self._capacity, self._clock = link, max_age_s, capacity, clock
        self._known: dict[Key, tuple[float, Vector | None]] = {}

    async def of(self, events: Iterable[Event]) -> Mapping[str, Vector]:
        """By `Event.cover_key`: embeddings of covers, and of items (the unit mean of their catalogue covers)."""
        names = {(bool(e.cover_id), e.cover_id or e.item_id): e.cover_key for e in events}
        now = self._clock()
        missing = [key for key in names if key not in self._known or self._known[key][0] <= now]
        if missing:
            if len(self._known) + len(missing) > self._capacity:
                self._known.clear()
                missing = list(names)
            until = now + self._max_age_s
            for key, vector in (await self._read(missing)).items():
                self._known[key] = (until, vector)
        vectors = {name: self._known[key][1] for key, name in names.items()}
        return {name: vector for name, vector in vectors.items() if vector is not None}

    async def _read(self, missing: Sequence[Key]) -> dict[Key, Vector | None]:
        covers = [id for is_cover, id in missing if is_cover]
        items = [id for is_cover, id in missing if not is_cover]
        pools = await self._link.many([("SMEMBERS", keys.pool(id)) for id in items])
        ids = list(dict.fromkeys([*covers, *(id.decode() for pool in pools for id in pool)]))
        answers = await self._link.one("HMGET", keys.COVERS, *ids) if ids else []
        stored = {id: cover_from(id, data) for id, data in zip(ids, answers, strict=True) if data}
        vectors: dict[Key, Vector | None] = {
            (True, id): stored[id].embedding if id in stored else None for id in covers
        }
        for item_id, pool in zip(items, pools, strict=True):
            pool_covers = [stored[id] for id in sorted(id.decode() for id in pool) if id in stored]
            vectors[False, item_id] = _mean(
                [c.embedding for c in pool_covers if c.provenance.origin is Origin.CATALOGUE]
            )
        return vectors

    def drop(self, cover_ids: Iterable[str], item_ids: Iterable[str]) -> None:
        for id in cover_ids:
            self._known.pop((True, id), None)
        for id in item_ids:
            self._known.pop((False, id), None)


def _mean(rows: Sequence[Vector]) -> Vector | None:
    if not rows:
        return None
    mean: Vector = np.mean(rows, axis=0, dtype=np.float32)
    return mean / np.float32(max(float(np.linalg.norm(mean)), 1e-6))
