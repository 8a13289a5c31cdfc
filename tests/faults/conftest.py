"""What tests of faults share: a server over a Redis, which sweeps, fits and learns all the time."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from eyecatch.config import Config
from eyecatch.wiring.serve import application

from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator
from tests.faults.table import Table
from tests.unit.api.conftest import Api
from tests.unit.ingest.helpers import topic

__all__ = ["serving", "topic"]


@pytest.fixture(scope="session")
def table() -> Iterator[Table]:
    """What the tests of faults measure, for the page."""
    table = Table()
    yield table
    table.write()


BUSY_LOOPS = {
    "reencode_every_s": 0.05,
    "clusters_every_s": 0.05,
    "clicks_every_s": 1.0,
    "trial_every_s": 0.05,
    "reward_weights": "clicks=1",
    "made_covers": "trial",
    "profile_cache_s": 0.0,
    "preload": False,
}


@asynccontextmanager
async def serving(store: str, folder: Path, **more: object) -> AsyncIterator[Api]:
    config = Config(**{"store": store, "data_dir": str(folder), "port": 0, "drain_s": 0.0} | more)  # type: ignore[arg-type]
    generator = FakeGenerator()
    async with (
        application(config, generator, MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        yield Api(app, generator, channel)
