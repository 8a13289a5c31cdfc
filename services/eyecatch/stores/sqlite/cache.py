"""Caches of decoded embeddings of covers and of users. Knows no SQL.

Only this process writes the file (see lock.py), so a cache is valid as long as every write drops the entries that it changes.
"""

from collections import OrderedDict
from collections.abc import Iterable

from eyecatch.core.types import Vector


class EmbeddingCache:
    """Cover id or item id -> embedding, or None if it has none. Use it on one thread only."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self.covers: dict[str, Vector | None] = {}
        self.items: dict[str, Vector | None] = {}

    def clear(self) -> None:
        self.covers.clear()
        self.items.clear()

    def make_room(self) -> None:
        if len(self.covers) + len(self.items) > self._capacity:
            self.clear()

    def drop(self, cover_ids: Iterable[str], item_ids: Iterable[str]) -> None:
        for id in cover_ids:
            self.covers.pop(id, None)
        for id in item_ids:
            self.items.pop(id, None)


class UserCache:
    """User id -> user embedding of at most `capacity` users (about 0.5 KB each); the oldest entries go first.

    Use it on the event loop's thread only. A read and its `put` run there without an await between them, and a write drops its users
    there after the commit, so that no entry is older than the last acknowledged write.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        # Not a dict, which is slow to find its oldest entry after many deletions.
        self._users: OrderedDict[str, Vector] = OrderedDict()
        self.get = self._users.get
        self.clear = self._users.clear

    def put(self, user_id: str, embedding: Vector) -> None:
        if len(self._users) >= self._capacity:
            self._users.popitem(last=False)
        self._users[user_id] = embedding

    def drop(self, user_ids: Iterable[str]) -> None:
        for user_id in user_ids:
            self._users.pop(user_id, None)
