"""Snapshots of the cover index: whole or not at all, taken and read while others search, and refused unless they fit."""

import json
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.errors import StoreDamaged, StoreError
from eyecatch.stores import index as module
from eyecatch.stores import index_snapshot
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.index_kinds import Kind, Sizes
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.unit.stores.test_index import CODES, EXACT, GRAPH, KINDS, D, check, unit


def filled(sizes: Sizes, count: int = 400) -> tuple[FaissIndex, dict[str, np.ndarray]]:
    """With rows in the index, recent ones, replaced ones and removed ones."""
    index, rng = FaissIndex(D, sizes, threads=1), np.random.default_rng(0)
    ids, rows = [f"cover é {n}" for n in range(count)], unit(rng, count)
    with index.filling():
        index.add(ids[:-50], rows[:-50])
    assert index.settle(60)
    index.add(ids[-50:], rows[-50:])
    rows[3] = unit(rng, 1)[0]
    index.add([ids[3]], rows[3][None])
    index.remove(ids[10:20])
    model = dict(zip(ids, rows, strict=True))
    for id in ids[10:20]:
        del model[id]
    return index, model


@KINDS
def test_an_index_comes_back_as_it_was(tmp_path: Path, sizes: Sizes, kind: Kind) -> None:
    path = tmp_path / "index"
    index, model = filled(sizes)
    index.save(path, "space")
    again = FaissIndex(D, sizes, threads=1)
    again.load(path, "space")
    assert again.plan.kind is kind
    assert len(again) == len(model)
    rng = np.random.default_rng(1)
    for _ in range(20):
        query = unit(rng, 1)[0]
        assert again.search(query, 10) == index.search(query, 10)
        check(again.search(query, 999), model, query, 999)
    again.add(["new"], query[None])
    again.remove([again.search(query, 2)[1][0]])
    assert again.search(query, 1)[0][0] == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["index"], "no part is left behind"
    index.close()
    again.close()


def test_an_empty_index_comes_back(tmp_path: Path) -> None:
    FaissIndex(D).save(tmp_path / "index", "")
    index = FaissIndex(D)
    index.load(tmp_path / "index", "")
    assert (len(index), index.search(np.ones(D), 3)) == (0, [])
    index.add(["a"], unit(np.random.default_rng(0), 1))
    assert len(index.search(np.ones(D), 3)) == 1


@KINDS
def test_it_is_read_back_while_others_search(tmp_path: Path, sizes: Sizes, kind: Kind) -> None:
    index, model = filled(sizes)
    index.save(tmp_path / "index", "")
    failures: list[object] = []
    ended = threading.Event()

    def search() -> None:
        rng = np.random.default_rng(2)
        while not ended.is_set():
            query = unit(rng, 1)[0]
            try:
                check(index.search(query, 5), model, query, 5)
            except AssertionError as error:
                failures.append(error)

    searchers = [threading.Thread(target=search) for _ in range(2)]
    for thread in searchers:
        thread.start()
    for _ in range(30):
        index.load(tmp_path / "index", "")
    ended.set()
    for thread in searchers:
        thread.join()
    index.close()
    assert failures == []


def test_additions_after_a_snapshot_was_read_do_not_change_the_file(tmp_path: Path) -> None:
    index, _ = filled(GRAPH)
    index.save(tmp_path / "index", "")
    before = (tmp_path / "index").read_bytes()
    index.load(tmp_path / "index", "")
    index.add(["x"], unit(np.random.default_rng(3), 1))
    index.close()
    assert (tmp_path / "index").read_bytes() == before


@pytest.mark.parametrize("sizes", [EXACT, GRAPH, CODES], ids=["flat", "hnsw", "ivf-pq"])
def test_every_damage_is_refused_and_nothing_changes(tmp_path: Path, sizes: Sizes) -> None:
    path = tmp_path / "index"
    index, model = filled(sizes)
    index.save(path, "space")
    whole, rng = path.read_bytes(), np.random.default_rng(4)
    damaged = [whole[: int(n)] for n in rng.integers(0, len(whole), 20)]
    for place in (*rng.integers(0, len(whole), 60).tolist(), 0, 7, 8, 9, len(whole) - 1):
        damaged.append(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
    damaged += [b"", rng.bytes(500), pickle.dumps({"rows": []}), whole + b"more"]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(StoreError, match="index"):
            index.load(path, "space")
    query = unit(rng, 1)[0]
    check(index.search(query, 9), model, query, 9)
    assert len(index) == len(model)
    index.close()


def test_parts_that_do_not_fit_together_are_refused_even_with_a_digest(tmp_path: Path) -> None:
    """What another program wrote: the digest is right, the parts are not."""
    path = tmp_path / "index"
    index, _ = filled(GRAPH)
    index.save(path, "")
    parts = load_file(path)
    with safe_open(path, framework="numpy") as file:
        head = json.loads(file.metadata()["head"])

    def write(**changes: object) -> None:
        other = {**parts, **{name: value for name, value in changes.items() if name in parts}}
        text = json.dumps({**head, **{name: value for name, value in changes.items() if name in head}})
        metadata = {"format": index_snapshot.FORMAT, "space": "", "head": text}
        save_file(other, path, {**metadata, "digest": index_snapshot._digest(other, text)})

    def refused(**changes: object) -> None:
        write(**changes)
        with pytest.raises(StoreDamaged, match="no whole snapshot"):
            index.load(path, "")

    write()
    index.load(path, "")
    refused(ids=np.frombuffer(b"a\x1fb", np.uint8))
    refused(ids=np.frombuffer(b"\xff\xfe", np.uint8))
    refused(kind="ivf-pq")
    refused(kind="other")
    refused(count=3)
    refused(rows=np.zeros((1, D + 1), np.float32))
    refused(rows=np.zeros((7, D), np.float32))
    refused(dead=np.array([10**6]))
    refused(dead=np.array([-1]))
    refused(dead=np.array([2, 2]))
    refused(dead=np.array([0.5]))
    refused(ids=np.frombuffer(b"\x1f".join([b"same"] * head["count"]), np.uint8))
    refused(index=np.zeros(40, np.uint8))
    index.close()


def test_another_space_dimension_or_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index"
    index, _ = filled(EXACT)
    index.save(path, "a1b2")
    with pytest.raises(StoreError, match="covers of another space, 'a1b2'; allowed: 'c3d4'"):
        index.load(path, "c3d4")
    with pytest.raises(StoreError, match="rows of 16 numbers; allowed: 8"):
        FaissIndex(8).load(path, "a1b2")
    save_file({"rows": np.zeros((2, D), np.float32)}, path)
    with pytest.raises(StoreError, match="format ''; allowed"):
        index.load(path, "a1b2")
    with pytest.raises(FileNotFoundError):
        index.load(tmp_path / "absent", "a1b2")


def test_a_failed_write_leaves_the_last_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index"
    index, model = filled(EXACT)
    index.save(path, "")
    index.remove([next(iter(model))])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        index.save(path, "")
    assert [file.name for file in tmp_path.iterdir()] == ["index"]
    index.load(path, "")
    assert len(index) == len(model)


def test_a_snapshot_is_of_one_moment(tmp_path: Path) -> None:
    """Pairs of covers are added and removed together; no file has half of one."""
    index, rng = FaissIndex(D, EXACT), np.random.default_rng(5)
    ended = threading.Event()

    def write() -> None:
        n = 0
        while not ended.is_set():
            index.add([f"{n}a", f"{n}b"], unit(rng, 2))
            if n >= 20:
                index.remove([f"{n - 20}a", f"{n - 20}b"])
            n += 1

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(20):
        index.save(tmp_path / "index", "")
        copy = FaissIndex(D)
        copy.load(tmp_path / "index", "")
        ids = {id for id, _ in copy.search(np.ones(D, np.float32), 10**6)}
        assert {id[:-1] for id in ids if id.endswith("a")} == {id[:-1] for id in ids if id.endswith("b")}
        assert len(ids) <= 42
    ended.set()
    writer.join()


def test_an_index_that_was_read_grows_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "FOLD", 20)
    for sizes in (GRAPH, CODES):
        index, _ = filled(sizes)
        index.save(tmp_path / "index", "")
        again = FaissIndex(D, sizes, threads=1)
        again.load(tmp_path / "index", "")
        again.add([f"n{n}" for n in range(100)], unit(np.random.default_rng(6), 100))
        assert again.settle(60)
        assert again.builds
        assert again._rows.count - again._rows.start <= 20
        index.close()
        again.close()
