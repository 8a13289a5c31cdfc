"""Which kind of index for how many rows, without a device."""

import threading

import faiss
import numpy as np
import pytest
from eyecatch.stores import index_kinds
from eyecatch.stores.index_kinds import Kind, Plan, Sizes, build, choose, row_bytes

SIZES = Sizes(flat=1000, memory=5000 * row_bytes(Kind.HNSW, 64))
FLAT, HNSW, IVF_PQ = Plan(Kind.FLAT), Plan(Kind.HNSW), Plan(Kind.IVF_PQ)


@pytest.mark.parametrize(
    ("rows", "today", "plan"),
    [
        (0, None, FLAT),
        (1000, None, FLAT),
        (1001, FLAT, HNSW),
        (5000, HNSW, HNSW),
        (5001, HNSW, IVF_PQ),
        (4500, IVF_PQ, IVF_PQ),
        (4000, IVF_PQ, HNSW),
        (501, HNSW, HNSW),
        (500, HNSW, FLAT),
        (500, IVF_PQ, FLAT),
    ],
)
def test_the_kind_goes_by_rows_and_memory_and_does_not_waver(rows: int, today: Plan | None, plan: Plan) -> None:
    assert choose(rows, 64, SIZES, 0, today) == plan


def test_with_a_device_there_is_no_graph() -> None:
    vectors = SIZES.memory // row_bytes(Kind.FLAT, 64)
    assert choose(1000, 64, SIZES, 1) == FLAT, "few rows are not worth the way to the device"
    assert choose(1001, 64, SIZES, 1) == Plan(Kind.FLAT, on_gpu=True)
    assert choose(vectors, 64, SIZES, 2) == Plan(Kind.FLAT, on_gpu=True)
    assert choose(vectors + 1, 64, SIZES, 1) == Plan(Kind.IVF_PQ, on_gpu=True)
    for rows in range(0, 20_000, 500):
        for today in (None, FLAT, HNSW, IVF_PQ, Plan(Kind.FLAT, True), Plan(Kind.IVF_PQ, True)):
            assert choose(rows, 64, SIZES, 1, today).kind is not Kind.HNSW


@pytest.mark.parametrize("devices", [0, 1])
def test_a_plan_that_was_followed_is_chosen_again(devices: int) -> None:
    """Else an index would be built for ever."""
    for rows in range(0, 20_000, 50):
        for today in (None, *(Plan(kind, gpu) for kind in Kind for gpu in (False, True))):
            plan = choose(rows, 64, SIZES, devices, today)
            assert choose(rows, 64, SIZES, devices, plan) == plan


def test_devices_are_those_that_faiss_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 3)
    assert index_kinds.gpus() == 3


@pytest.mark.parametrize("dim", [8, 12, 64, 100])
def test_codes_of_any_width_can_be_built_and_found(dim: int) -> None:
    rows = np.random.default_rng(0).standard_normal((600, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    base = build(IVF_PQ, rows, threading.Event())
    hits = [base.nearest(row, 5)[0] for row in rows[:50]]
    assert sum(n in positions for n, positions in enumerate(hits)) > 45


def test_an_extended_index_leaves_the_old_one_alone() -> None:
    rows = np.eye(64, dtype=np.float32)
    for plan in (HNSW, IVF_PQ):
        many = np.concatenate([rows] * 8) + np.random.default_rng(0).normal(0, 0.01, (512, 64)).astype(np.float32)
        old = build(plan, many, threading.Event())
        new = old.extended(-rows[:3], threading.Event())
        assert (old.count, new.count) == (512, 515)
        assert 512 in new.nearest(-rows[0], 5)[0]
        assert max(old.nearest(-rows[0], 5)[0]) < 512
        np.testing.assert_array_equal(new.rows[512:], -rows[:3])
