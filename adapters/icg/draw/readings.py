"""What the VLM read of each item, cached by the item's digest: it depends on the item alone and is the slowest part of a short brief."""

from __future__ import annotations

from collections.abc import Callable

from cachetools import LRUCache
from torch import Tensor


class Readings(LRUCache[str, Tensor]):
    """Item digest -> (1, M, D_vlm). For one thread; `hits`, `misses` and `evicted` count since the start."""

    hits = misses = evicted = 0

    def read(self, digest: str, read: Callable[[], Tensor]) -> Tensor:
        """The reading of `digest`, from `read()` if it is not cached."""
        if digest in self:
            self.hits += 1
            return self[digest]
        self.misses += 1
        reading = read()
        self[digest] = reading
        return reading

    def popitem(self) -> tuple[str, Tensor]:
        """Evicts the least recently used reading."""
        self.evicted += 1
        return super().popitem()
