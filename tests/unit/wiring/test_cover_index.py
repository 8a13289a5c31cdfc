"""The cover index at a server's start: the snapshot where it fits, and always the store's covers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.types import Standing, Trust, zeros
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.index_kinds import Kind, Sizes
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.wiring.cover_index import fill_index, keep_snapshots, open_index
from structlog.testing import capture_logs

from tests.contracts.builders import cover, generated, item, unit

GRAPH = Sizes(flat=100)
COUNT = 300


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore.open(tmp_path)
    yield store
    store.close()


async def fill(store: SqliteStore) -> None:
    await store.catalog.upsert_items([item("a")], [cover(f"c{n:03}", "a", n) for n in range(COUNT)])


async def shown(store: SqliteStore) -> dict[str, np.ndarray]:
    return {c.id: c.embedding async for c in store.catalog.all_covers() if c.standing.trust is Trust.TRUSTED}


async def opened(store: SqliteStore, file: Path, space: str = "space") -> FaissIndex:
    index = FaissIndex(sizes=GRAPH, threads=1)
    await open_index(index, store.catalog, "review", file, space)
    assert index.settle(60)
    return index


def contents(index: FaissIndex) -> dict[str, float]:
    return dict(index.search(unit(999), 10**6))


async def agrees(index: FaissIndex, store: SqliteStore) -> bool:
    expected = {id: float(row @ unit(999)) for id, row in (await shown(store)).items()}
    return contents(index) == pytest.approx(expected, abs=1e-5)


async def test_a_snapshot_of_the_stores_covers_spares_the_build(store: SqliteStore, tmp_path: Path) -> None:
    await fill(store)
    first = await opened(store, tmp_path / "index")
    assert (first.builds, first.plan.kind) == (1, Kind.HNSW)
    first.save(tmp_path / "index", "space")
    with capture_logs() as logs:
        again = await opened(store, tmp_path / "index")
    assert (again.builds, again.plan.kind) == (0, Kind.HNSW)
    assert await agrees(again, store)
    assert [entry["event"] for entry in logs] == ["cover_index_read"]


async def test_what_changed_in_the_store_since_is_brought_in_line(store: SqliteStore, tmp_path: Path) -> None:
    await fill(store)
    (await opened(store, tmp_path / "index")).save(tmp_path / "index", "space")
    await store.catalog.remove_covers(["c001", "c002"])
    retired = Standing(Trust.RETIRED, ("ugly",))
    await store.catalog.add_covers(
        [
            cover("c003", "a", 5000),  # embedded anew
            cover("new", "a", 5001),
            cover("c004", "a", 4, ruling=retired),
            generated("candidate", "a", 5002),
        ]
    )
    index = await opened(store, tmp_path / "index")
    assert await agrees(index, store)
    assert {"new", "c003"} <= contents(index).keys()
    assert not {"c001", "c002", "c004", "candidate"} & contents(index).keys()
    assert index.builds == 0, "four changes are no reason for another graph"


@pytest.mark.parametrize("damage", ["cut short", "another space", "a folder"])
async def test_a_snapshot_that_does_not_fit_is_refused_in_words_and_built_anew(
    store: SqliteStore, tmp_path: Path, damage: str
) -> None:
    await fill(store)
    file = tmp_path / "index"
    if damage == "a folder":
        file.mkdir()
    else:
        (await opened(store, file)).save(file, "space" if damage == "cut short" else "other")
    if damage == "cut short":
        file.write_bytes(file.read_bytes()[:-100])
    with capture_logs() as logs:
        index = await opened(store, file)
    assert logs[0]["event"] == "cover_index_snapshot_refused"
    assert str(file) in logs[0]["error"]
    assert index.builds == 1
    assert await agrees(index, store)


async def test_covers_that_come_while_the_store_is_read_stay(store: SqliteStore, tmp_path: Path) -> None:
    await fill(store)
    index = FaissIndex(sizes=GRAPH, threads=1)

    class Catalog:
        async def all_covers(self):
            async for each in store.catalog.all_covers():
                yield each
            index.add(["late"], zeros()[None] + 1)  # its place in the order of ids has passed

    await fill_index(index, Catalog(), "review")  # type: ignore[arg-type]
    index.settle(60)
    assert "late" in contents(index)
    assert len(index) == COUNT + 1


async def test_a_snapshot_is_written_after_a_build_and_not_again(store: SqliteStore, tmp_path: Path) -> None:
    file = tmp_path / "index"
    await fill(store)
    index = FaissIndex(sizes=GRAPH, threads=1)
    task = asyncio.create_task(keep_snapshots(index, file, "space", 0.01))
    await asyncio.sleep(0.1)
    assert not file.exists(), "an exact index needs none"
    await fill_index(index, store.catalog, "review")
    for _ in range(500):
        await asyncio.sleep(0.02)
        if file.exists():
            break
    written = file.stat().st_mtime_ns
    await asyncio.sleep(0.1)
    assert file.stat().st_mtime_ns == written
    task.cancel()
    again = FaissIndex(sizes=GRAPH)
    again.load(file, "space")
    assert await agrees(again, store)


async def test_a_disk_without_room_is_reported_and_tried_again(tmp_path: Path) -> None:
    index = FaissIndex(sizes=GRAPH, threads=1)
    task = asyncio.create_task(keep_snapshots(index, tmp_path / "absent" / "index", "space", 0.01))
    await asyncio.sleep(0)
    index.add([str(n) for n in range(200)], np.stack([unit(n) for n in range(200)]))
    assert index.settle(60)
    with capture_logs() as logs:
        await asyncio.sleep(0.3)
    task.cancel()
    assert len(logs) > 1
    assert {entry["event"] for entry in logs} == {"cover_index_snapshot_failed"}
