"""One fixture a port, parametrised by implementations: the suites know ports only, so another store joins by name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from eyecatch.core.ports import Blobs, CoverIndex
from eyecatch.core.types import Budget
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.redis import QueueOptions, RedisStore
from eyecatch.stores.sqlite import SqliteStore

from tests.contracts.builders import MAX_WAITING, Stores


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contracts are about results; a busy machine may take longer than a served answer waits."""
    monkeypatch.setattr("eyecatch.stores.redis.link.HURRY_S", 10.0)
    monkeypatch.setattr("eyecatch.stores.reencode_on_read.REENCODE_S", 10.0)


@pytest.fixture
def budget() -> Budget:
    """Of the queue; a test that needs one is parametrised with it."""
    return Budget()


@asynccontextmanager
async def opened(kind: str, request: pytest.FixtureRequest, folder: Path, budget: Budget) -> AsyncIterator[Stores]:
    if kind == "sqlite":
        store = SqliteStore.open(folder, max_waiting_jobs=MAX_WAITING, budget=budget)
        yield Stores(store.catalog, store.profiles, store.vectors, store.decisions, store.queue, store.notes)
        store.close()
        return
    cluster = kind == "redis-cluster"
    nodes = request.getfixturevalue("redis_cluster") if cluster else [request.getfixturevalue("redis_server")]
    for node in nodes:
        node.client.flushall()
    shared = await RedisStore.open(nodes[0].url, queue=QueueOptions(MAX_WAITING, budget=budget))
    yield Stores(shared.catalog, shared.profiles, shared.vectors, shared.decisions, shared.queue, shared.notes)
    await shared.close()


@pytest.fixture(params=["sqlite", "redis", "redis-cluster"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path, budget: Budget) -> AsyncIterator[Stores]:
    async with opened(request.param, request, tmp_path, budget) as stores:
        yield stores


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return FsspecBlobs(str(tmp_path / "blobs") if request.param == "folder" else f"memory://{tmp_path.name}")


@pytest.fixture(params=["faiss"])
def index(request: pytest.FixtureRequest) -> CoverIndex:
    return FaissIndex(8)
