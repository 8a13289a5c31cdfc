"""One fixture a port, parametrised by implementations: the suites know ports only, so another store joins by name."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from eyecatch.core.ports import Blobs, CoverIndex
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.redis import RedisStore
from eyecatch.stores.sqlite import SqliteStore

from tests.contracts.builders import MAX_WAITING, Stores


@pytest.fixture(params=["sqlite", "redis", "redis-cluster"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "sqlite":
        store = SqliteStore.open(tmp_path, max_waiting_jobs=MAX_WAITING)
        yield Stores(store.catalog, store.profiles, store.decisions, store.queue, store.notes)
        store.close()
        return
    one = request.param == "redis"
    nodes = [request.getfixturevalue("redis_server")] if one else request.getfixturevalue("redis_cluster")
    for node in nodes:
        node.client.flushall()
    shared = await RedisStore.open(nodes[0].url, max_waiting_jobs=MAX_WAITING)
    yield Stores(shared.catalog, shared.profiles, shared.decisions, shared.queue, shared.notes)
    await shared.close()


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return FsspecBlobs(str(tmp_path / "blobs") if request.param == "folder" else f"memory://{tmp_path.name}")


@pytest.fixture(params=["faiss"])
def index(request: pytest.FixtureRequest) -> CoverIndex:
    return FaissIndex(8)
