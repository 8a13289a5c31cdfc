"""The cover index by kind: recall and queries a second against a bare Faiss Flat, one query at a time as a server asks, in turn.

    python -m benchmarks.cover_index [--rounds 5] [--rows 200000] [--sizes 5000 20000 50000] [--queries 200]

Rows are synthetic, as near to one another as real covers: of 2,496 film posters in the starter's space the mean has length 0.81, the
local intrinsic dimension is 17.8, and the first and tenth neighbours are 0.40 and 0.46 away; of as many of these rows it is 0.81, 17.9,
0.40 and 0.45. A query is a user's taste: the direction of three covers' sum. --isotropic: a uniform sphere instead, where no index of
this kind helps. One thread. Asked of HNSW at 200,000 x 64: recall@10 of at least 0.99 at 10 times Flat's queries a second.
busy_p99_ratio: of a search while rows are added and the index grows beside it / without.
"""

import argparse
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import faiss
import numpy as np
from eyecatch.core.types import EMBEDDING_DIM
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.index_kinds import Kind, Plan, Sizes, build, row_bytes
from eyecatch.stores.index_rows import Rows

from benchmarks import report
from benchmarks.clock import seconds

K = 10
MEAN = 0.81


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def rows_and_queries(rng: np.random.Generator, count: int, queries: int, isotropic: bool) -> tuple[np.ndarray, ...]:
    """(N, D) rows and (Q, D) queries of unit length."""
    deviations = np.ones(EMBEDDING_DIM) if isotropic else (1.0 + np.arange(EMBEDDING_DIM)) ** -0.7
    deviations *= np.sqrt(1 - MEAN**2) / np.linalg.norm(deviations)
    mean = np.zeros(EMBEDDING_DIM) if isotropic else MEAN * unit(rng.standard_normal((1, EMBEDDING_DIM)))[0]
    rows = unit(mean + rng.standard_normal((count, EMBEDDING_DIM)) * deviations)
    if isotropic:
        return rows, unit(rng.standard_normal((queries, EMBEDDING_DIM)))
    return rows, unit(rows[rng.integers(count, size=(queries, 3))].sum(axis=1))


Search = Callable[[np.ndarray], list[Any]]


def bare_flat(rows: np.ndarray) -> Search:
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return lambda query: index.search(query[None], K)[1][0].tolist()


def ours(kind: Kind, rows: np.ndarray, ids: list[str]) -> Search:
    """The path of a served search, from the query to ids."""
    base = None if kind is Kind.FLAT else build(Plan(kind), rows, threading.Event())
    version = Rows.of(ids, rows if base is None else rows[:0], base)
    return lambda query: [id for id, _ in version.nearest(query, K)]


def compare(searches: Mapping[str, Search], queries: np.ndarray, rounds: int) -> dict[str, tuple[float, float]]:
    """By name (queries a second / those of "flat", recall@10); the rate of "flat" itself."""
    truth = [set(map(str, searches["flat"](query))) for query in queries]
    recall = {
        name: float(np.mean([len(truth[n] & set(map(str, search(query)))) / K for n, query in enumerate(queries)]))
        for name, search in searches.items()
    }
    times: dict[str, list[float]] = {name: [] for name in searches}
    for n in range(rounds):
        part = np.array_split(queries, rounds)[n]
        for name in sorted(searches, reverse=n % 2 == 0):
            work = searches[name]
            times[name].append(seconds(lambda work=work, part=part: [work(q) for q in part]) / len(part))
    ratios = {
        name: statistics.median(a / b for a, b in zip(times["flat"], each, strict=True)) for name, each in times.items()
    }
    ratios["flat"] = 1 / statistics.median(times["flat"])
    return {name: (ratios[name], recall[name]) for name in searches}


def percentile(index: FaissIndex, queries: np.ndarray, until: Callable[[int], bool]) -> float:
    """Seconds of the slowest search of a hundred."""
    taken, n = [], 0
    while until(n):
        taken.append(seconds(lambda: index.search(queries[n % len(queries)], K)))  # noqa: B023  (called at once)
        n += 1
    return float(np.percentile(taken, 99))


def busy(rows: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """The slowest searches beside 5,000 additions (or a tenth of the rows), in lots of 16, and the index that grows by them."""
    index = FaissIndex(rows.shape[1], Sizes(flat=1000), threads=1)
    more = min(5000, len(rows) // 10)
    index.add([str(n) for n in range(len(rows) - more)], rows[:-more])
    index.settle()
    quiet = percentile(index, queries, lambda n: n < 1000)

    def grow() -> None:
        for first in range(len(rows) - more, len(rows), 16):
            last = min(first + 16, len(rows))
            index.add([str(n) for n in range(first, last)], rows[first:last])
            time.sleep(0.002)
        index.settle()

    writer = threading.Thread(target=grow)
    builds = index.builds
    writer.start()
    loud = percentile(index, queries, lambda n: writer.is_alive() or n < 100)
    index.close()
    return {"busy_p99_ratio": loud / quiet, "busy_p99_ms": 1000 * loud, "busy_builds": float(index.builds - builds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--sizes", type=int, nargs="*", default=[5000, 20_000, 50_000])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--isotropic", action="store_true")
    args = parser.parse_args()
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    rows, queries = rows_and_queries(rng, args.rows, args.queries, args.isotropic)
    figures: dict[str, Any] = {f"{kind}_bytes_a_row": row_bytes(kind, EMBEDDING_DIM) for kind in Kind}
    for count in sorted({*args.sizes, args.rows}):
        some, ids = rows[:count], [str(n) for n in range(count)]
        searches = {"flat": bare_flat(some), "served_flat": ours(Kind.FLAT, some, ids)}
        for kind in (Kind.HNSW, Kind.IVF_PQ):
            began = time.perf_counter()
            searches[kind] = ours(kind, some, ids)
            figures[f"{kind}_build_s_{count}"] = time.perf_counter() - began
        for name, (ratio, recall) in compare(searches, queries, args.rounds).items():
            figures[f"{name}_qps_{count}" if name == "flat" else f"{name}_ratio_{count}"] = ratio
            figures[f"{name}_recall_{count}"] = recall
        print(f"{count} rows measured", flush=True)
    report(figures | busy(rows[:50_000], queries))


if __name__ == "__main__":
    main()
