"""One fixture a port, parametrised by implementations: the suites know ports only, so another store joins by name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eyecatch.core.ports import Blobs, CoverIndex
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.sqlite import SqliteStore

from tests.contracts.builders import MAX_WAITING, Stores


@pytest.fixture(params=["sqlite"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    store: Any = {"sqlite": lambda: SqliteStore.open(tmp_path, max_waiting_jobs=MAX_WAITING)}[request.param]()
    yield Stores(store.catalog, store.profiles, store.decisions, store.queue)
    store.close()


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return FsspecBlobs(str(tmp_path / "blobs") if request.param == "folder" else f"memory://{tmp_path.name}")


@pytest.fixture(params=["faiss"])
def index(request: pytest.FixtureRequest) -> CoverIndex:
    return FaissIndex(8)
