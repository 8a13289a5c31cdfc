"""The cover index against a dictionary and numpy: interleaved changes and searches, in one thread and across threads, over all kinds."""

import threading
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.stores import index as module
from eyecatch.stores import index_kinds
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.index_kinds import Kind, Plan, Sizes

D = 16
EXACT, GRAPH, CODES = Sizes(flat=10**9), Sizes(flat=200), Sizes(flat=200, memory=0)
KINDS = pytest.mark.parametrize(
    ("sizes", "kind"), [(EXACT, Kind.FLAT), (GRAPH, Kind.HNSW), (CODES, Kind.IVF_PQ)], ids=str
)


def unit(rng: np.random.Generator, count: int) -> np.ndarray:
    rows = rng.standard_normal((count, D)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows join the index after a few additions, so that a short test sees many swaps."""
    monkeypatch.setattr(module, "FOLD", 100)


@pytest.fixture
def make() -> Iterator[object]:
    made_here: list[FaissIndex] = []

    def one(sizes: Sizes = EXACT) -> FaissIndex:
        made_here.append(FaissIndex(D, sizes, threads=1))
        return made_here[-1]

    yield one
    for index in made_here:
        index.close()


def filled(make, sizes: Sizes, count: int, seed: int = 0) -> tuple[FaissIndex, dict[str, np.ndarray]]:
    index, rows = make(sizes), unit(np.random.default_rng(seed), count)
    with index.filling():
        index.add([f"c{n}" for n in range(count)], rows)
    assert index.settle(60)
    return index, {f"c{n}": row for n, row in enumerate(rows)}


def check(hits: list[tuple[str, float]], model: dict[str, np.ndarray], query: np.ndarray, k: int) -> None:
    """As many living ids as there are, each once, each with its own product, best first."""
    assert len(hits) == min(k, len(model))
    assert len({id for id, _ in hits}) == len(hits)
    assert all(abs(dot - float(model[id] @ query)) < 1e-5 for id, dot in hits)
    assert [dot for _, dot in hits] == sorted((dot for _, dot in hits), reverse=True)


@KINDS
def test_ten_thousand_interleaved_changes_and_searches_have_no_wrong_id(make, sizes: Sizes, kind: Kind) -> None:
    rng = np.random.default_rng(1)
    index, model = filled(make, sizes, 600)
    matrix = np.full((1500, D), np.nan, np.float32)  # the same as `model`, for numpy
    matrix[:600] = np.stack(list(model.values()))
    right = total = 0
    for step in range(10_000):
        query, numbers = unit(rng, 1)[0], rng.integers(1500, size=rng.integers(1, 4))
        ids = [f"c{n}" for n in numbers]
        if step % 3 == 0:
            rows = unit(rng, len(ids))
            index.add(ids, rows)
            model.update(zip(ids, rows, strict=True))
            for n, row in zip(numbers, rows, strict=True):
                matrix[n] = row
        elif step % 3 == 1:
            index.remove(ids)
            matrix[numbers] = np.nan
            for id in ids:
                model.pop(id, None)
        else:
            k = int(rng.integers(1, 30))
            hits = index.search(query, k)
            check(hits, model, query, k)
            dots = matrix @ query
            best = np.sort(dots[~np.isnan(dots)])[::-1][:k]
            right += sum(dot >= best[-1] - 1e-5 for _, dot in hits)
            total += len(best)
    assert len(index) == len(model)
    assert index.settle(60)
    assert index.plan == Plan(kind)
    assert index.builds > 10 or kind is Kind.FLAT
    recall = right / total
    assert recall == 1.0 if kind is Kind.FLAT else recall > 0.9


@KINDS
def test_searches_on_other_threads_see_whole_changes(make, sizes: Sizes, kind: Kind) -> None:
    """Ids are never used again, but for `swapped`, which has one of two rows at every moment; `steady` stays."""
    index, model = filled(make, sizes, 500)
    steady = dict(list(model.items())[:250])
    one, other = unit(np.random.default_rng(9), 2)
    index.add(["swapped"], one[None])
    gone: set[str] = set()
    failures: list[str] = []
    ended = threading.Event()

    def write(name: int) -> None:
        rng = np.random.default_rng(name)
        for n in range(1000):
            index.add([f"{name}/{n}"], unit(rng, 1))
            if name == 0:
                index.add(["swapped"], (other if n % 2 else one)[None])
            if n >= 50:
                index.remove([f"{name}/{n - 50}"])
                gone.add(f"{name}/{n - 50}")

    def search(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not ended.is_set():
            query, before = unit(rng, 1)[0], set(gone)
            hits = index.search(query, 100_000)  # more than there are: every row is compared
            dots = dict(hits)
            swapped = [abs(dots.get("swapped", 9.0) - float(row @ query)) for row in (one, other)]
            whole = {
                "each id once": len(dots) == len(hits),
                "no removed id": not dots.keys() & before,
                "all that stay": steady.keys() <= dots.keys(),
                "one of two rows": min(swapped) < 1e-5,
                "as many as asked": len(index.search(query, 7)) == 7,
            }
            failures.extend(claim for claim, holds in whole.items() if not holds)

    writers = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    searchers = [threading.Thread(target=search, args=(n + 10,)) for n in range(2)]
    for thread in (*writers, *searchers):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    for thread in searchers:
        thread.join()
    assert failures == []
    assert len(index) == 500 + 1 + 100
    assert index.settle(60)
    assert index.plan.kind is kind


def test_the_kind_follows_the_size_up_and_down(make) -> None:
    index, model = filled(make, GRAPH, 150)
    assert index.plan.kind is Kind.FLAT
    rng = np.random.default_rng(2)
    ids = [f"more{n}" for n in range(100)]
    index.add(ids, unit(rng, 100))
    assert index.settle(60)
    assert index.plan.kind is Kind.HNSW
    index.remove(ids)
    assert index.settle(60)
    assert index.plan.kind is Kind.HNSW, "150 of 200 is not well below: it would change to and fro"
    index.remove(list(model)[:60])
    assert index.settle(60)
    assert index.plan.kind is Kind.FLAT
    assert len(index) == 90


@pytest.mark.parametrize("sizes", [GRAPH, CODES], ids=["hnsw", "ivf-pq"])
def test_the_living_are_found_where_all_near_ones_are_gone(make, sizes: Sizes) -> None:
    """Fewer are removed than lead to a new index, so the old one names them all."""
    index, model = filled(make, sizes, 2000)
    query = unit(np.random.default_rng(5), 1)[0]
    builds = index.builds
    near = [id for id, _ in index.search(query, 395)]
    index.remove(near)
    for id in near:
        del model[id]
    check(index.search(query, 10), model, query, 10)
    assert index.builds == builds
    best = max(model, key=lambda id: float(model[id] @ query))
    assert index.search(query, 10)[0][0] == best


def test_removed_rows_are_cleared_away(make) -> None:
    index, _ = filled(make, GRAPH, 1000)
    index.remove([f"c{n}" for n in range(300)])
    assert index.settle(60)
    assert index._rows.dead == 0
    assert len(index) == index._rows.count == 700


def test_a_row_that_is_there_already_changes_nothing(make) -> None:
    index, model = filled(make, GRAPH, 300)
    version = index._rows.version
    index.add(list(model), np.stack(list(model.values())))
    assert index._rows.version == version
    index.add(["c0"], unit(np.random.default_rng(3), 1))
    assert index._rows.version == version + 1
    assert len(index) == 300


def test_changes_while_an_index_is_built_are_not_lost(make, monkeypatch: pytest.MonkeyPatch) -> None:
    building, go_on = threading.Event(), threading.Event()
    real = module.build

    def slow(*arguments):
        building.set()
        assert go_on.wait(30)
        return real(*arguments)

    monkeypatch.setattr(module, "build", slow)
    index, rng = make(GRAPH), np.random.default_rng(4)
    rows = unit(rng, 300)
    index.add([f"c{n}" for n in range(300)], rows)
    assert building.wait(30)
    query = unit(rng, 1)[0]
    model = {f"c{n}": row for n, row in enumerate(rows)}
    fresh = unit(rng, 2)
    index.add(["new", "c5"], fresh)
    index.remove(["c7", "c8"])
    model |= {"new": fresh[0], "c5": fresh[1]}
    del model["c7"], model["c8"]
    check(index.search(query, 999), model, query, 999)
    go_on.set()
    assert index.settle(60)
    assert index.plan.kind is Kind.HNSW
    check(index.search(query, 999), model, query, 999)
    assert len(index) == len(model)


def test_a_build_that_fails_leaves_the_index_as_it_was(make, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        raise MemoryError("no room")

    monkeypatch.setattr(module, "build", fail)
    index, model = filled(make, GRAPH, 300)
    query = unit(np.random.default_rng(6), 1)[0]
    check(index.search(query, 10), model, query, 10)
    index.add(["x"], query[None])
    assert index.settle(60)
    assert len(calls) == 1, "it is not tried again at once"
    assert index.search(query, 1)[0][0] == "x"


def test_closing_ends_a_build(make, monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Event()

    def endless(plan, rows, stop: threading.Event):
        started.set()
        assert stop.wait(30)
        raise module.Stopped

    monkeypatch.setattr(module, "build", endless)
    index = make(GRAPH)
    index.add([f"c{n}" for n in range(300)], unit(np.random.default_rng(7), 300))
    assert started.wait(30)
    index.close()
    assert index.settle(0.1)
    assert len(index.search(unit(np.random.default_rng(8), 1)[0], 5)) == 5


def test_numbers_that_are_none_are_refused(make) -> None:
    index = make(EXACT)
    bad = np.full((1, D), np.nan, np.float32)
    with pytest.raises(InvalidInput, match="embeddings"):
        index.add(["a"], bad)
    with pytest.raises(InvalidInput, match="query"):
        index.search(bad[0], 1)


class Device:
    """A stand-in for a GPU: Faiss on the processor, which counts the searches of all its indexes. Each copy is an index of its own: the one
    before it is still searched while the next is made."""

    def __init__(self) -> None:
        self.searches = 0

    def __call__(self, index, rows: np.ndarray) -> "Copy":
        if index is None:
            index = faiss.IndexFlatIP(rows.shape[1])
            index.add(rows)
        return Copy(self, index)


class Copy:
    def __init__(self, device: Device, index) -> None:
        self.device, self.index = device, index

    def search(self, query: np.ndarray, count: int):
        self.device.searches += 1
        return self.index.search(query, count)


@pytest.mark.parametrize("kind", [Kind.FLAT, Kind.IVF_PQ])
def test_on_a_device_the_same_rows_are_found(make, monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    """No device was at hand: this tests all but the two calls that copy an index there."""
    device = Device()
    monkeypatch.setattr(index_kinds, "_on_gpu", device)
    monkeypatch.setattr(module, "gpus", lambda: 1)
    index, model = filled(make, GRAPH if kind is Kind.FLAT else CODES, 1000)
    assert index.plan == Plan(kind, on_gpu=True)
    rng = np.random.default_rng(1)
    rows = unit(rng, 200)
    for n, row in enumerate(rows):
        index.add([f"new{n}"], row[None])
        index.remove([f"c{n}"])
        model[f"new{n}"] = row
        del model[f"c{n}"]
        query = unit(rng, 1)[0]
        check(index.search(query, 10), model, query, 10)
    assert index.settle(60)
    assert index.builds > 1
    assert device.searches > 150


def test_a_snapshot_of_codes_moves_to_a_device_without_training(
    make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    index, model = filled(make, CODES, 1000)
    index.save(tmp_path / "index", "")
    monkeypatch.setattr(index_kinds, "_on_gpu", Device())
    monkeypatch.setattr(module, "gpus", lambda: 1)
    monkeypatch.setattr(module, "build", None)  # nothing is built
    again = make(CODES)
    again.load(tmp_path / "index", "")
    assert again.settle(60)
    assert again.plan == Plan(Kind.IVF_PQ, on_gpu=True)
    query = unit(np.random.default_rng(1), 1)[0]
    check(again.search(query, 10), model, query, 10)


def test_a_device_that_fails_leaves_the_work_to_the_processor(make, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error 2 out of memory")

    monkeypatch.setattr(index_kinds, "_on_gpu", fail)
    monkeypatch.setattr(module, "gpus", lambda: 1)
    index, model = filled(make, GRAPH, 1000)
    assert index.plan == Plan(Kind.HNSW)
    query = unit(np.random.default_rng(1), 1)[0]
    check(index.search(query, 10), model, query, 10)
