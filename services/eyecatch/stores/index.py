"""The CoverIndex port on Faiss: Flat, HNSW or IVF-PQ by size, or on a GPU. Knows no cover.

One version of the rows serves all searches (index_rows.py). A thread builds the next index beside it and swaps it in: no search waits,
and what is added or removed meanwhile is taken along.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
import structlog

from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import EMBEDDING_DIM, Vector
from eyecatch.stores import index_snapshot
from eyecatch.stores.index_kinds import Base, Kind, Plan, Sizes, Stopped, build, choose, gpus
from eyecatch.stores.index_rows import Rows

log = structlog.get_logger(__name__)

FOLD, FOLD_SHARE = 4096, 0.005
"""Recent rows, in number and of all rows, above which they join HNSW or IVF-PQ; until then each search reads all of them."""
DEAD_SHARE = 0.2
"""Of all rows, above which the index is built anew without those that are gone."""
GROWTH = 4
"""Times as many rows as IVF-PQ was trained for, at which it is trained anew."""


class FaissIndex:
    """Safe on any thread. Searches wait for nothing; additions and removals wait for one another, for milliseconds.

    `sizes`: when to change the kind. `threads`: of the build, half of the cores by default, so that answers keep the others.
    """

    def __init__(self, dim: int = EMBEDDING_DIM, sizes: Sizes = Sizes(), threads: int = 0) -> None:  # noqa: B008  (frozen)
        self._dim, self._sizes = dim, sizes
        self._threads = threads or max(1, (os.cpu_count() or 1) // 2)
        self._rows = Rows.of([], np.zeros((0, dim), np.float32))
        self._position: dict[str, int] = {}
        self._lock = threading.Lock()  # of writers
        self._builder: threading.Thread | None = None
        self._stop = threading.Event()
        self._held = 0
        self._gpus = gpus()
        self._not_below = 0
        self.builds = 0
        """How often a built index was swapped in; a snapshot is worth writing when it has grown."""

    @property
    def plan(self) -> Plan:
        base = self._rows.base
        return base.plan if base else Plan(Kind.FLAT)

    def __len__(self) -> int:
        return len(self._position)

    def add(self, ids: Sequence[str], embeddings: Vector) -> None:
        """Add or replace N ids with embeddings (N, D) of unit length. If an id occurs twice, its last row counts.

        A row that is there already costs nothing more. Raises InvalidInput.
        """
        rows = np.ascontiguousarray(embeddings, np.float32)
        if rows.shape != (len(ids), self._dim) or not np.isfinite(rows).all():
            raise InvalidInput.of("embeddings", rows.shape, f"{len(ids)} rows of {self._dim} finite numbers")
        last = {id: row for row, id in enumerate(ids)}
        with self._lock:
            now = self._rows
            rows = rows[list(last.values())]
            old = np.array([self._position.get(id, -1) for id in last], np.int64)
            new = old < 0
            new[~new] = (now.at(old[~new]) != rows[~new]).any(axis=1)
            if not new.any():
                return
            fresh = [id for id, is_new in zip(last, new.tolist(), strict=True) if is_new]
            self._rows = now.changed(old[new & (old >= 0)].tolist(), fresh, rows[new])
            self._position.update(zip(fresh, range(now.count, self._rows.count), strict=True))
            self._tend()

    def remove(self, ids: Sequence[str]) -> None:
        """Remove ids; unknown ones are ignored."""
        with self._lock:
            gone = [self._position.pop(id) for id in dict.fromkeys(ids) if id in self._position]
            if gone:
                self._rows = self._rows.changed(gone, [], np.zeros((0, self._dim), np.float32))
                self._tend()

    def ids(self) -> set[str]:
        """All ids of this moment."""
        with self._lock:
            return set(self._position)

    def search(self, query: Vector, k: int) -> list[tuple[str, float]]:
        """At most k (id, dot product), best first; fewer only if there are fewer. Raises InvalidInput for another shape or NaN."""
        row = np.ascontiguousarray(query, np.float32).reshape(-1)
        if row.shape[0] != self._dim or not np.isfinite(row).all():
            raise InvalidInput.of("query", row.shape, f"{self._dim} finite numbers")
        return self._rows.nearest(row, k)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Nothing is built while many rows come in; what is due begins at the end."""
        with self._lock:
            self._held += 1
        try:
            yield
        finally:
            with self._lock:
                self._held -= 1
                self._tend()

    def save(self, path: Path, space: str) -> None:
        """Write a snapshot, whole or not at all, while others search and add. `space` names the space of the rows. Raises OSError."""
        index_snapshot.save(path, self._rows, self._dim, space)

    def load(self, path: Path, space: str) -> None:
        """Put the rows of a snapshot in the place of those that are there; searches go on.

        Raises FileNotFoundError, StoreDamaged for what is no whole snapshot, and StoreError for one of another space or dimension; then
        nothing has changed.
        """
        rows = index_snapshot.load(path, self._dim, space)
        position = {rows.ids[p]: p for p in rows.alive().tolist()}
        with self._lock:
            self._rows, self._position = rows, position
            self._tend()

    def settle(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is built any more; whether that came in time."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while (builder := self._builder) is not None and builder.is_alive():
            builder.join(None if end is None else max(0.0, end - time.monotonic()))
            if end is not None and time.monotonic() >= end:
                return self._builder is None
        return True

    def close(self) -> None:
        """Stop building and wait for its end. Searches still work."""
        self._stop.set()
        self.settle()

    def _tend(self) -> None:
        """Start the builder if there is work for it. Needs the lock."""
        idle = self._builder is None or not self._builder.is_alive()
        if idle and not self._held and not self._stop.is_set() and self._work(self._rows):
            self._builder = threading.Thread(target=self._build, name="cover-index")
            self._builder.start()

    def _work(self, rows: Rows) -> str:
        """What should be done about these rows: "rebuild", "fold", "move" to or from a GPU, or nothing."""
        if rows.count < self._not_below:
            return ""
        base = rows.base
        today = base.plan if base else Plan(Kind.FLAT)
        due = choose(rows.live, self._dim, self._sizes, self._gpus, today)
        if rows.dead > max(FOLD, DEAD_SHARE * rows.count):
            return "rebuild"
        if due != today:
            return "move" if due.kind is today.kind is Kind.IVF_PQ else "rebuild"
        if base is None or rows.count - rows.start <= max(FOLD, FOLD_SHARE * rows.count):
            return ""
        outgrown = base.plan.kind is Kind.IVF_PQ and rows.count > GROWTH * base.trained
        return "rebuild" if outgrown else "fold"

    def _build(self) -> None:
        faiss.omp_set_num_threads(self._threads)  # of this thread alone
        while True:
            with self._lock:
                rows = self._rows
                work = "" if self._held or self._stop.is_set() else self._work(rows)
                if not work:
                    self._builder = None
                    return
            try:
                self._rebuild(rows) if work == "rebuild" else self._replace_base(rows, work)
                self._not_below = 0
            except Stopped:
                return
            except (MemoryError, RuntimeError) as error:  # Faiss' own errors are RuntimeErrors
                log.warning("cover_index_not_built", error=str(error), rows=rows.count, gpus=self._gpus)
                if self._gpus:  # a device that is full or broken: the processor does the work from now on
                    self._gpus = 0
                    continue
                self._not_below = rows.count + rows.count // 4 + 1

    def _replace_base(self, rows: Rows, work: str) -> None:
        """Recent rows join a copy of the index, at the positions that they have; or the index moves to another device."""
        old = rows.base
        if old is None:
            return
        if work == "move":
            base = Base(Plan(old.plan.kind, self._gpus > 0), old.index, old.rows, old.trained)
        else:
            base = old.extended(rows.recent[: rows.count - rows.start], self._stop)
        with self._lock:
            if self._rows.ids is rows.ids:  # else a snapshot was loaded meanwhile
                self._rows = self._rows.on(base)
                self.builds += 1

    def _rebuild(self, rows: Rows) -> None:
        """An index of the living rows alone, at new positions."""
        old = rows.alive()
        vectors = rows.at(old)
        ids = [rows.ids[p] for p in old.tolist()]
        today = rows.base.plan if rows.base else None
        plan = choose(len(old), self._dim, self._sizes, self._gpus, today)
        base = None if plan == Plan(Kind.FLAT) else build(plan, vectors, self._stop)
        rest = np.zeros((0, self._dim), np.float32) if base else vectors
        position = {id: p for p, id in enumerate(ids)}
        after = Rows.of(ids, rest, base)
        with self._lock:
            now = self._rows
            if now.ids is not rows.ids:  # a snapshot was loaded meanwhile
                return
            # Since then: rows that are gone by now, and rows that came.
            gone = np.flatnonzero(now.died[old] <= now.version).tolist()
            came = np.arange(rows.count, now.count)[now.died[rows.count : now.count] > now.version]
            for p in gone:
                del position[ids[p]]
            new = [now.ids[p] for p in came.tolist()]
            after = after.changed(gone, new, now.at(came))
            position.update(zip(new, range(len(ids), after.count), strict=True))
            self._rows, self._position = after, position
            self.builds += 1
        log.info("cover_index_built", kind=str(plan.kind), gpu=plan.on_gpu, rows=after.live)
