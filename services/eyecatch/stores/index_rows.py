"""One version of the rows of a cover index, which a search reads without a lock. Knows no file, no thread and no kind of index.

A row is appended at the next position and never changes; a removal notes in `died` from which version on it is gone. A search reads
one version from begin to end, so it never sees half of a change: a replaced cover is there once, with its old row or its new one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import faiss
import numpy as np
from numpy.typing import NDArray

from eyecatch.core.types import Vector
from eyecatch.stores.index_kinds import Base, Nearest

Positions = NDArray[np.int64]
ALIVE = np.iinfo(np.int64).max
SLACK = 16
"""Results that a search asks for beyond those it needs, since some rows are gone."""
WIDER = 8
"""If that was too few, it asks once more for so many times as many, and then looks at every row."""


@dataclass(frozen=True, eq=False)
class Rows:
    """`base` indexes the positions before `start`; `recent` (C, D) has the rows from there to `count` - 1, and room for more.

    died: by position, the version from which on the row is gone, or ALIVE. ids: by position. Both are shared with other versions and
    may be longer than `count`. live: rows that are not gone.
    """

    recent: Vector
    died: Positions
    ids: list[str]
    base: Base | None = None
    version: int = 0
    count: int = 0
    live: int = 0

    @classmethod
    def of(cls, ids: Sequence[str], rows: Vector, base: Base | None = None, dead: Positions | None = None) -> "Rows":
        """Ids of all positions, the rows (N, D) of those after `base`, and which positions are gone."""
        died = np.full(max(16, len(ids)), ALIVE, np.int64)
        if dead is not None:
            died[dead] = 0
        live = len(ids) - (0 if dead is None else len(dead))
        return cls(np.ascontiguousarray(rows, np.float32), died, list(ids), base, 0, len(ids), live)

    @property
    def start(self) -> int:
        return self.base.count if self.base else 0

    @property
    def dead(self) -> int:
        return self.count - self.live

    def at(self, positions: Positions) -> Vector:
        """(N,) positions -> their rows (N, D)."""
        if self.base is None:
            return self.recent[positions]
        rows = np.empty((len(positions), self.recent.shape[1]), np.float32)
        old = positions < self.start
        rows[old] = self.base.rows[positions[old]]
        rows[~old] = self.recent[positions[~old] - self.start]
        return rows

    def alive(self) -> Positions:
        """The positions of all rows that are not gone."""
        return np.flatnonzero(self.died[: self.count] > self.version)

    def changed(self, gone: Sequence[int], ids: Sequence[str], rows: Vector) -> "Rows":
        """The next version: without the positions `gone`, all of them alive, and with new rows (N, D).

        One caller at a time, on the newest version. Older versions stay as they are.
        """
        after = self._with_room(len(ids))
        last = self.count + len(ids)
        after.recent[self.count - self.start : last - self.start] = rows
        after.died[self.count : last] = ALIVE
        after.ids[self.count :] = ids  # not extend: a change that failed half-way may have left some
        after.died[list(gone)] = self.version + 1
        return replace(after, version=self.version + 1, count=last, live=self.live + len(ids) - len(gone))

    def _with_room(self, more: int) -> "Rows":
        recent, died = self.recent, self.died
        if self.count - self.start + more > len(recent):
            recent = _larger(recent, self.count - self.start + more)
        if self.count + more > len(died):
            died = _larger(died, self.count + more)
        return self if recent is self.recent and died is self.died else replace(self, recent=recent, died=died)

    def on(self, base: Base) -> "Rows":
        """The same version with more of its rows in `base`: the same positions."""
        tail = self.recent[base.count - self.start : self.count - self.start]
        return replace(self, base=base, recent=tail.copy())

    def nearest(self, query: Vector, k: int) -> list[tuple[str, float]]:
        """(id, dot product) of the k best rows for `query` (D,), best first; fewer only if fewer are alive."""
        k = min(k, self.live)
        if k < 1:
            return []
        if self.base is None:
            positions, dots = self._recent_nearest(query, k)
        elif self.count == self.start == self.live:  # nothing is recent or gone
            positions, dots = self.base.nearest(query, k)
            if len(positions) < k:  # a graph may not reach them all
                positions, dots = self._base_nearest(self.base, query, k)
        else:
            positions, dots = self._base_nearest(self.base, query, k)
            if self.count > self.start:
                more, their_dots = self._recent_nearest(query, k)
                positions, dots = np.concatenate([positions, more]), np.concatenate([dots, their_dots])
                best = np.argsort(-dots, kind="stable")[:k]
                positions, dots = positions[best], dots[best]
        return list(zip(map(self.ids.__getitem__, positions[:k].tolist()), dots[:k].tolist(), strict=True))

    def _base_nearest(self, base: Base, query: Vector, k: int) -> Nearest:
        return self._living(lambda count: base.nearest(query, count), base.rows, 0, query, k)

    def _recent_nearest(self, query: Vector, k: int) -> Nearest:
        rows = self.recent[: self.count - self.start]

        def search(count: int) -> Nearest:
            dots, positions = faiss.knn(query[None], rows, count, faiss.METRIC_INNER_PRODUCT)
            return positions[0] + self.start, dots[0]

        return self._living(search, rows, self.start, query, k)

    def _living(self, search: Callable[[int], Nearest], rows: Vector, start: int, query: Vector, k: int) -> Nearest:
        """The k best rows or a few more that are not gone, best first: by `search` if it finds them, else by all `rows`."""
        most = k + (SLACK if self.dead else 0)
        for number in (most, WIDER * most):
            if number >= len(rows):
                break
            positions, dots = search(number)
            living = self.died[positions] > self.version
            if np.count_nonzero(living) >= k:
                return (positions, dots) if living.all() else (positions[living], dots[living])
        left = np.flatnonzero(self.died[start : start + len(rows)] > self.version)
        dots = (rows if len(left) == len(rows) else rows[left]) @ query
        if len(left) > k:
            some = np.argpartition(-dots, k - 1)[:k]
            left, dots = left[some], dots[some]
        best = np.argsort(-dots, kind="stable")
        return left[best] + start, dots[best]


def _larger(array: NDArray, least: int) -> NDArray:  # type: ignore[type-arg]
    """A copy with room for at least `least` rows and for as many again as there were."""
    larger = np.empty((max(least, 2 * len(array), 16), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
