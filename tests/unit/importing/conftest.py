"""An empty data folder with a catalogue in it, and a small shop to import."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from eyecatch.core.catalog import Catalog
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.sqlite import SqliteStore
from PIL import Image

from tests.unit.importing.fakes import HistogramGenerator


@dataclass(frozen=True)
class Home:
    store: SqliteStore
    blobs: FsspecBlobs
    generator: HistogramGenerator
    catalog: Catalog


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    store = SqliteStore.open(tmp_path / "data")
    blobs, generator = FsspecBlobs(str(tmp_path / "data" / "blobs")), HistogramGenerator()
    yield Home(store, blobs, generator, Catalog(store.catalog, blobs, generator, FaissIndex()))
    store.close()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with pictures/0.png ... pictures/9.png of ten colours."""
    folder = tmp_path / "shop"
    (folder / "pictures").mkdir(parents=True)
    for n in range(10):
        Image.new("RGB", (32, 24), (n * 25, 255 - n * 25, 128)).save(folder / "pictures" / f"{n}.png")
    return folder
