"""The profiles that were written last, in memory, so that the next event of such a user needs no read. Knows no store.

A writer takes the entry out before a change and puts a new one back only after the write, so that a failure leaves no stale entry.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")

CAPACITY = 10_000


class RecentWrites(Generic[T]):
    """User id -> entry (about 10 KB with a full window) of at most `capacity` users; the least recently used go first."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._users: OrderedDict[str, T] = OrderedDict()
        self.clear = self._users.clear

    def __len__(self) -> int:
        return len(self._users)

    def take(self, user_id: str) -> T | None:
        """Remove and return the entry."""
        return self._users.pop(user_id, None)

    def put(self, user_id: str, entry: T) -> None:
        self._users[user_id] = entry
        if len(self._users) > self._capacity:
            self._users.popitem(last=False)
