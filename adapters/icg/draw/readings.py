"""What the VLM read of each item, kept by the item's digest: it depends on the item alone and is the dearest part of a short brief."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor


class Readings:
    """A bounded LRU: item digest -> (1, M, D_vlm). Used from one thread; `hits`, `misses` and `evicted` count since the start."""

    def __init__(self, limit: int) -> None:
        self.limit, self._kept = limit, OrderedDict[str, Tensor]()
        self.hits = self.misses = self.evicted = 0

    def __contains__(self, digest: str) -> bool:
        return digest in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, digest: str, read: Callable[[], Tensor]) -> Tensor:
        """The reading of `digest`, by calling `read` where it is not kept."""
        if digest in self._kept:
            self.hits += 1
        else:
            self.misses += 1
            self._kept[digest] = read()
        self._kept.move_to_end(digest)
        found = self._kept[digest]
        while len(self._kept) > self.limit:
            self._kept.popitem(last=False)
            self.evicted += 1
        return found

    def clear(self) -> None:
        """Forget all readings, not the counts."""
        self._kept.clear()
