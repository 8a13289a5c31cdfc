"""Rankings by stored profiles: items in the order of their best cover for a user's embedding. Knows no store and no model.

Which covers count makes the variants: those that came with the items, those made for nobody, and those made for the user. Where a variant
has no cover of an item, the item's own covers stand in, so that all variants rank the same items. All of it can be pickled, for workers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np
from icg.data.interactions import Split
from numpy.typing import NDArray

from eyecatch.core.ports import Encoder
from eyecatch.core.types import RECENT_EVENTS, Action, Event, Vector
from eyecatch.evaluate.behaviour import NO_COVER, BehaviourTable, Covers, Ints
from eyecatch.shards import packed

USER_BATCH = 1024
"""Users encoded in one call: enough to use all cores, few enough for the memory."""
Recent = tuple[Ints, Ints, Ints, Ints, NDArray[np.float64], Ints]
"""Events of B users, newest first: item, shown, action, dwell_ms and time (R,); user n's are rows ends[n]..ends[n + 1] of them."""


def recent_events(behaviour: BehaviourTable, split: Split, size: int) -> Iterator[Recent]:
    """What profiles of the split's users would hold, `size` users at a time: the latest known events, impressions left out."""
    known = split.known
    rows = np.flatnonzero(known.action != Action.IMPRESSION)
    per_user = np.bincount(known.user[rows], minlength=known.users)
    from_end = np.cumsum(per_user)[known.user[rows]] - np.arange(len(rows))
    rows = rows[from_end <= RECENT_EVENTS][::-1]  # the last user first, each newest first
    start = len(rows) - np.cumsum(np.minimum(per_user, RECENT_EVENTS))
    for first in range(0, len(split.users), size):
        users = split.users[first : first + size]
        counts = np.minimum(per_user[users], RECENT_EVENTS)
        ends = np.concatenate([[0], np.cumsum(counts)])
        at = rows[np.arange(ends[-1]) + np.repeat(start[users] - ends[:-1], counts)]
        here = split.rows[at]
        yield known.item[at], behaviour.shown[here], known.action[at], behaviour.dwell_ms[here], known.time[at], ends


@dataclass(frozen=True, eq=False)
class Embeddings(Mapping[str, Vector]):
    """Embeddings by the numbers of covers and items in place of ids, without an object for each. rows (C, D), means (items, D)."""

    rows: Vector
    means: Vector

    def __getitem__(self, key: str) -> Vector:
        table, number = (self.means, key[1:]) if key[0] == ITEM else (self.rows, key)
        n = int(number)
        if n < 0 or (table is self.means and not table[n].any()):
            raise KeyError(key)
        row: Vector = table[n]
        return row

    def __contains__(self, key: object) -> bool:
        return self.get(str(key)) is not None

    def __iter__(self) -> Iterator[str]:
        yield from (str(n) for n in range(len(self.rows)))
        yield from (f"{ITEM}{n}" for n in np.flatnonzero(self.means.any(axis=1)))

    def __len__(self) -> int:
        return len(self.rows) + int(self.means.any(axis=1).sum())


ITEM = Event("", "", "", Action.CLICK, 0.0).cover_key
"""What the key of an item begins with."""


@dataclass(frozen=True, eq=False)
class Encode:
    """Recent events -> the users' embeddings (B, D), as `packed`."""

    encoder: Encoder
    embeddings: Embeddings

    def __call__(self, recent: Recent) -> bytes:
        *columns, ends = (column.tolist() for column in recent)
        events = [
            Event("", "", str(item), Action(action), time, "" if shown == NO_COVER else str(shown), "", dwell_ms)
            for item, shown, action, dwell_ms, time in zip(*columns, strict=True)
        ]
        users = [events[a:b] for a, b in pairwise(ends)]
        parts = [self.encoder(users[n : n + USER_BATCH], self.embeddings) for n in range(0, len(users), USER_BATCH)]
        return packed({"users": np.concatenate(parts)})


def swapped(count: int, seed: int) -> Ints:
    """(count,) for each user another one: the next in a random circle, so that none gets the own profile."""
    circle = np.random.default_rng(seed).permutation(count)
    others = np.empty_like(circle)
    others[circle] = np.roll(circle, 1)
    return others


class CoverChoice(Protocol):
    """Which covers a variant shows a user."""

    def __call__(self, row: int) -> NDArray[np.bool_]:
        """The row of a user in the split -> (C,)."""


@dataclass(frozen=True, eq=False)
class ForNobody:
    """Made covers that are neither a user's nor a taste's."""

    covers: Covers

    def __call__(self, row: int) -> NDArray[np.bool_]:
        return self._mask

    @cached_property
    def _mask(self) -> NDArray[np.bool_]:
        nobody = np.array([tag == "" for tag in self.covers.made_for], bool)
        mask: NDArray[np.bool_] = self.covers.generated & (self.covers.taste < 0) & nobody
        return mask


@dataclass(frozen=True, eq=False)
class ForUsers:
    """Made covers for the user (its tag), or for the user's taste cluster (Q,), -1 where the user has none."""

    covers: Covers
    tags: Sequence[str]
    tastes: Ints

    def __call__(self, row: int) -> NDArray[np.bool_]:
        covers = self.covers
        near = (covers.taste >= 0) & (covers.taste == self.tastes[row]) & (self._made_for == "")
        chosen: NDArray[np.bool_] = covers.generated & ((self._made_for == self.tags[row]) | near)
        return chosen

    @cached_property
    def _made_for(self) -> NDArray[np.object_]:
        return np.array(self.covers.made_for, dtype=object)


@dataclass(frozen=True, eq=False)
class ProfileScorer:
    """Users (B,) -> scores (B, items) by their `queries` (Q, D), a row for each of `users` (Q,), ascending: of each item the best of its
    own covers, -inf without any; with a `choice` the best of the covers that it chooses, where there are any."""

    users: Ints
    queries: Vector
    covers: Covers
    items: int
    choice: CoverChoice | None = None

    def __call__(self, users: Ints) -> NDArray[np.float32]:
        rows = np.searchsorted(self.users, users)
        table = best(self.queries[rows], self._own, self.items)
        if self.choice is None:
            return table
        for n, row in enumerate(rows):
            mine = self.choice(int(row))
            if mine.any():
                scores = best(self.queries[row : row + 1], layers(self.covers, mine), self.items)[0]
                table[n] = np.where(np.isfinite(scores), scores, table[n])
        return table

    @cached_property
    def _own(self) -> "Layers":
        return layers(self.covers, ~self.covers.generated)


Layers = Sequence[tuple[Ints, Vector]]
"""Items (N,) and a cover of each (N, D): first covers, then second ones of items that have any, and so on."""


def layers(covers: Covers, use: NDArray[np.bool_]) -> Layers:
    """The covers among `use` (C,)."""
    rows = np.flatnonzero(use)
    item = covers.item_of[rows]  # ascending
    place = np.arange(len(rows)) - np.searchsorted(item, item)
    return [(item[place == n], covers.rows[rows[place == n]]) for n in range(int(place.max(initial=-1)) + 1)]


def best(queries: Vector, use: Layers, items: int) -> NDArray[np.float32]:
    """(B, items): the highest product of a query (B, D) and a cover of the item in the layers, -inf without any."""
    if use and len(use[0][0]) == items:
        out = queries @ use[0][1].T
        use = use[1:]
    else:
        out = np.full((len(queries), items), -np.inf, np.float32)
    for numbers, rows in use:
        out[:, numbers] = np.maximum(out[:, numbers], queries @ rows.T)
    return out
