"""What the writer of profiles remembers of the users it wrote last, so that the next event of theirs needs no read. Knows no store.

Who changes a user takes the entry out, and puts one back only when the write is acknowledged: a failure anywhere leaves nothing stale.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")

ACTIVE_USERS = 10_000


class Active(Generic[T]):
    """User id -> entry (some 10 KB with a full window), of at most `capacity` users; those untouched for longest leave first."""

    def __init__(self, capacity: int = ACTIVE_USERS) -> None:
        self._capacity = capacity
        self._users: OrderedDict[str, T] = OrderedDict()
        self.clear = self._users.clear

    def __len__(self) -> int:
        return len(self._users)

    def take(self, user_id: str) -> T | None:
        """The entry, which is the caller's from now on."""
        return self._users.pop(user_id, None)

    def put(self, user_id: str, entry: T) -> None:
        self._users[user_id] = entry
        if len(self._users) > self._capacity:
            self._users.popitem(last=False)
