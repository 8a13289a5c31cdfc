"""An embedded store in an empty folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from eyecatch.stores.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore.open(tmp_path)
    yield store
    store.close()
