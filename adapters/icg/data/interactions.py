"""Who met which item when, as columns, and how they are split into what is known and what is hidden. numpy only.

Order is by user, then time, and events of equal times keep the order of the table (a stable sort), so that a split is always the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from icg.errors import IcgError


@dataclass(frozen=True, eq=False)
class Interactions:
    """E events ordered by user, then time. user (E,) 0..users-1, item (E,) 0..items-1, time (E,) seconds, action (E,) wire numbers,
    positive (E,) bool: the user engaged with the item, so that it may be hidden and predicted; other events are only known."""

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    action: np.ndarray
    positive: np.ndarray
    users: int
    items: int

    @classmethod
    def of(
        cls,
        user: np.ndarray,
        item: np.ndarray,
        time: np.ndarray,
        action: np.ndarray,
        positive: np.ndarray,
        users: int = 0,
        items: int = 0,
    ) -> Interactions:
        """From columns in any order. Raises IcgError for columns of different lengths, negative numbers and times that are not finite."""
        columns = [np.asarray(c) for c in (user, item, time, action, positive)]
        if len({len(c) for c in columns}) != 1:
            raise IcgError(f"columns of lengths {[len(c) for c in columns]}; allowed: one length")
        if len(columns[0]) and (min(columns[0].min(), columns[1].min()) < 0 or not np.isfinite(columns[2]).all()):
            raise IcgError("user, item or time is negative or not finite; allowed: numbers from 0, finite times")
        order = np.lexsort((columns[2], columns[0]))  # stable: equal times stay in the order of the table
        numbers, times = np.int64, np.float64
        u, i, t, a, w = (c[order] for c in columns)
        users, items = max(users, int(u.max(initial=-1)) + 1), max(items, int(i.max(initial=-1)) + 1)
        return cls(
            u.astype(numbers), i.astype(numbers), t.astype(times), a.astype(numbers), w.astype(bool), users, items
        )

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def start(self) -> np.ndarray:
        """(users + 1,): user n's events are rows start[n]..start[n + 1]."""
        return np.searchsorted(self.user, np.arange(self.users + 1))

    def take(self, rows: np.ndarray) -> Interactions:
        """The events of `rows` (booleans or ascending indices); users and items keep their numbers."""
        columns = (self.user, self.item, self.time, self.action, self.positive)
        return Interactions(*(c[rows] for c in columns), self.users, self.items)

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Distinct (user, item) of wanted events, two columns ordered by user, then item."""
        return self._pairs

    @cached_property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        key = np.unique(self.user[self.positive] * self.items + self.item[self.positive])
        return key // max(self.items, 1), key % max(self.items, 1)

    def popularity(self) -> np.ndarray:
        """(items,): users who engaged with each item."""
        return np.bincount(self.pairs()[1], minlength=self.items)


@dataclass(frozen=True, eq=False)
class Split:
    """known: what rankers may learn from, rows (K,) of the table that was split. users (Q,), ascending, have hidden items: user n's are
    hidden[ends[n]..ends[n + 1]], ends (Q + 1,). Items that a user knows are not ranked for that user.

    tied: users with a hidden event at the very time of a known one: there the table's order decides what is hidden.
    """

    known: Interactions
    rows: np.ndarray
    users: np.ndarray
    hidden: np.ndarray
    ends: np.ndarray
    tied: int

    def of(self, n: int) -> np.ndarray:
        """The hidden items of the n-th user."""
        return self.hidden[self.ends[n] : self.ends[n + 1]]


def leave_last(table: Interactions, leave_out: int, least: int) -> Split:
    """Hide the last `leave_out` wanted items of each user who has at least `least`. Known: what the user did before the first of them,
    with other items; what comes later is neither known nor hidden, since it would tell of the future.

    An item's place is that of its last wanted event. Raises IcgError unless 1 <= leave_out < least.
    """
    if not 1 <= leave_out < least:
        raise IcgError(f"leave_out={leave_out}, least={least}; allowed: 1 <= leave_out < least")
    rows = np.flatnonzero(table.positive)
    key = table.user[rows] * max(table.items, 1) + table.item[rows]
    last = rows[len(rows) - 1 - np.unique(key[::-1], return_index=True)[1]]
    last = np.sort(last)  # one row a (user, item), in the order of the table
    count = np.bincount(table.user[last], minlength=table.users)
    from_end = np.cumsum(count)[table.user[last]] - np.arange(len(last))  # 1 for a user's last item
    hidden = last[(from_end <= leave_out) & (count[table.user[last]] >= least)]
    first = np.full(table.users, len(table))
    np.minimum.at(first, table.user[hidden], hidden)
    return _split(table, hidden, np.arange(len(table)) < first[table.user])


def by_time(table: Interactions, share: float) -> Split:
    """Known: everything before the time at which `share` of the wanted events have happened. Hidden: items wanted later that their user
    did not meet before. Users may have no known event: they are cold. Raises IcgError unless 0 < share < 1."""
    if not 0 < share < 1:
        raise IcgError(f"share={share}; allowed: above 0 and below 1")
    times = np.sort(table.time[table.positive], kind="stable")
    if not len(times):
        return _split(table, np.zeros(0, np.int64), np.ones(0, bool))
    before = table.time < times[int(share * len(times))]
    met = np.unique(table.user[before] * table.items + table.item[before])
    later = np.flatnonzero(table.positive & ~before)
    key = table.user[later] * table.items + table.item[later]
    first = np.unique(key, return_index=True)[1]
    new = later[np.sort(first)]
    new = new[~np.isin(table.user[new] * table.items + table.item[new], met)]
    return _split(table, new, before)


def _split(table: Interactions, hidden: np.ndarray, may_be_known: np.ndarray) -> Split:
    """hidden: ascending rows, one a (user, item)."""
    keys = table.user * max(table.items, 1) + table.item
    known = may_be_known & ~np.isin(keys, keys[hidden])
    users, counts = np.unique(table.user[hidden], return_counts=True)
    latest = np.full(table.users, -np.inf)
    np.maximum.at(latest, table.user[known], table.time[known])
    tied = np.unique(table.user[hidden][table.time[hidden] <= latest[table.user[hidden]]])
    ends = np.concatenate([[0], np.cumsum(counts)])
    return Split(table.take(known), np.flatnonzero(known), users, table.item[hidden], ends, len(tied))
