"""Kinds of Faiss index for cover embeddings: which one for how many rows, how it is built, extended and searched. Knows no id.

An index here is never changed after it was built: any number of threads may search it without a lock. What is added comes as a
larger copy. Thresholds and recalls: `python -m benchmarks.cover_index`.
"""

import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from eyecatch.core.types import Vector

LINKS, BUILD_EFFORT, SEARCH_EFFORT = 32, 200, 60
"""HNSW: links of a row, and candidates looked at when it is added and when one is searched (M, efConstruction, efSearch)."""
CODE_BYTES, PROBES, RERANKED = 32, 128, 8
"""IVF-PQ: bytes of a row's code, lists that a search reads, and candidates for each result whose exact products are compared."""
GPU_MOST = 2048
"""Results of one search that Faiss gives at most on a GPU."""
CHUNK = 1024
"""Rows that are added between two looks at whether the process ends."""


class Kind(StrEnum):
    FLAT = "flat"
    HNSW = "hnsw"
    IVF_PQ = "ivf-pq"


class Plan(NamedTuple):
    """A kind, and whether it is on a GPU."""

    kind: Kind
    on_gpu: bool = False


@dataclass(frozen=True)
class Sizes:
    """flat: rows up to which the exact search on the processor is fast enough. memory: bytes that HNSW, or Flat on a GPU, may take."""

    flat: int = 20_000
    memory: int = 4 << 30


def row_bytes(kind: Kind, dim: int) -> int:
    """Memory of one row in a graph or list, vectors included; those of IVF-PQ too are kept, to compare candidates exactly."""
    return 4 * dim + {Kind.FLAT: 0, Kind.HNSW: 8 * LINKS + 24, Kind.IVF_PQ: CODE_BYTES + 8}[kind]


def choose(rows: int, dim: int, sizes: Sizes, gpus: int = 0, now: Plan | None = None) -> Plan:
    """The plan for so many rows. A plan of today (`now`) stays until the number is well below the one at which it began."""
    today = now or Plan(Kind.FLAT)
    if rows <= sizes.flat * (1.0 if today == Plan(Kind.FLAT) else 0.5):
        return Plan(Kind.FLAT)
    room = sizes.memory * (0.8 if today.kind is Kind.IVF_PQ else 1.0)
    exact = Kind.FLAT if gpus else Kind.HNSW  # a GPU reads all rows faster than a processor follows a graph
    return Plan(exact if rows * row_bytes(exact, dim) <= room else Kind.IVF_PQ, gpus > 0)


def gpus() -> int:
    """Devices that this build of Faiss can use; 0 for faiss-cpu."""
    return int(faiss.get_num_gpus())


Nearest = tuple[NDArray[np.int64], Vector]
"""Positions (K,) and dot products (K,)."""


class Stopped(Exception):
    """The index was closed while a part of it was built."""


class Base:
    """An index of the rows at positions 0 to `count` - 1: HNSW or IVF-PQ, or Flat on a GPU.

    index: on the processor; None for Flat. rows: (count, D), exact. trained: rows that IVF-PQ was trained for.
    """

    def __init__(self, plan: Plan, index: Any, rows: Vector, trained: int = 0) -> None:
        self.plan, self.index, self.rows, self.trained = plan, index, rows, trained
        self._device: Any = None
        self._one_at_a_time = threading.Lock()  # the scratch memory of a device serves one search
        if plan.on_gpu:
            self._device = _on_gpu(index, rows)

    @property
    def count(self) -> int:
        return len(self.rows)

    def nearest(self, query: Vector, count: int) -> Nearest:
        """About the `count` rows with the largest dot products with `query` (D,), best first; maybe fewer."""
        candidates = count * RERANKED if self.plan.kind is Kind.IVF_PQ else count
        if self._device is not None:
            candidates = min(candidates, GPU_MOST)
            with self._one_at_a_time:
                (dots,), (positions,) = self._device.search(query[None], candidates)
        elif self.plan.kind is Kind.HNSW:
            effort = None  # SEARCH_EFFORT; more results need more
            if 2 * candidates > SEARCH_EFFORT:
                effort = faiss.SearchParametersHNSW(efSearch=2 * candidates)  # type: ignore[attr-defined]
            positions, dots = _search(self.index, query, candidates, effort)
        else:
            positions, dots = _search(self.index, query, candidates)
        if positions[-1] < 0:
            positions, dots = positions[positions >= 0], dots[positions >= 0]
        if self.plan.kind is Kind.IVF_PQ:  # its codes are coarse: the vectors decide
            dots = self.rows[positions] @ query
            best = np.argsort(-dots)[:count]
            positions, dots = positions[best], dots[best]
        return positions, dots

    def extended(self, more: Vector, stop: threading.Event) -> "Base":
        """A copy with the rows (N, D) added at the next positions. Raises Stopped."""
        if self.plan.kind is Kind.HNSW:
            index = faiss.clone_index(self.index)
            _add(index, more, stop)
            return Base(self.plan, index, _stored(index))
        larger: Any = None if self.index is None else faiss.clone_index(self.index)
        if larger is not None:
            _add(larger, more, stop)
        return Base(self.plan, larger, np.concatenate([self.rows, more]), self.trained)


def _search(index: Any, query: Vector, count: int, effort: Any = None) -> Nearest:
    """As `index.search` of one query (D,), without what its Python wrapper does around it, which takes a twentieth of an HNSW's search."""
    query = np.ascontiguousarray(query, np.float32)
    if query.shape != (index.d,):
        raise ValueError(f"a query of shape {query.shape}; allowed: ({index.d},)")
    dots, positions = np.empty(count, np.float32), np.empty(count, np.int64)
    index.search_c(1, faiss.swig_ptr(query), count, faiss.swig_ptr(dots), faiss.swig_ptr(positions), effort)
    return positions, dots


def build(plan: Plan, rows: Vector, stop: threading.Event) -> Base:
    """An index of rows (N, D) of about equal length: HNSW by dot product misses many of the largest if lengths differ. Raises Stopped."""
    count, dim = rows.shape
    index: Any = None
    if plan.kind is Kind.HNSW:
        index = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = BUILD_EFFORT, SEARCH_EFFORT
        _add(index, rows, stop)
        return Base(plan, index, _stored(index))
    if plan.kind is Kind.IVF_PQ:
        lists = max(1, min(round(4 * count**0.5), count // 40))
        index = faiss.IndexIVFPQ(faiss.IndexFlatIP(dim), dim, lists, _code_bytes(dim), 8, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.spherical, index.nprobe = 10, True, min(PROBES, lists)
        sample = np.random.default_rng(0).permutation(count)[: max(64 * lists, 64 * 256)]
        index.train(np.ascontiguousarray(rows[np.sort(sample)]))
        _add(index, rows, stop)
    return Base(plan, index, rows, count)


def from_faiss(plan: Plan, index: Any, rows: Vector, dim: int, trained: int) -> Base:
    """An index that Faiss read back. rows: its vectors and maybe more after them; HNSW has its own. Raises ValueError for another kind."""
    allowed: Any = {Kind.HNSW: faiss.IndexHNSWFlat, Kind.IVF_PQ: faiss.IndexIVFPQ}.get(plan.kind, ())
    fits: bool = isinstance(index, allowed)
    if not fits or index.d != dim or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError(f"{type(index).__name__} of {index.d} numbers; allowed: {plan.kind} of {dim}")
    if plan.kind is Kind.HNSW:
        index.hnsw.efSearch = SEARCH_EFFORT
        return Base(plan, index, _stored(index))
    if len(rows) < index.ntotal:
        raise ValueError(f"{len(rows)} rows of an index of {index.ntotal}")
    return Base(plan, index, np.ascontiguousarray(rows[: index.ntotal]), trained)


def _code_bytes(dim: int) -> int:
    """The most bytes up to CODE_BYTES that divide the dimension."""
    return max(m for m in range(1, min(CODE_BYTES, dim) + 1) if dim % m == 0)


def _add(index: Any, rows: Vector, stop: threading.Event) -> None:
    for first in range(0, len(rows), CHUNK):
        if stop.is_set():
            raise Stopped
        index.add(rows[first : first + CHUNK])


def _stored(index: Any) -> Vector:
    """The vectors (N, D) inside of an HNSW index, without a copy; valid while the index is."""
    storage: Any = faiss.downcast_index(index.storage)
    rows: Vector = faiss.rev_swig_ptr(storage.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)
    return rows


def _on_gpu(index: Any, rows: Vector) -> Any:
    """A copy on the first device. Never run yet: no machine of this project's had one."""
    resources = faiss.StandardGpuResources()
    if index is None:
        flat = faiss.GpuIndexFlatIP(resources, rows.shape[1])
        flat.add(rows)
        return flat
    options = faiss.GpuClonerOptions()
    options.useFloat16 = True  # lookup tables of 32-byte codes fit into shared memory only so
    return faiss.index_cpu_to_gpu(resources, 0, index, options)
