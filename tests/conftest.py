"""What every test needs before anything is imported, and servers that are started once."""

import os
from collections.abc import Iterator

# OpenMP threads that spin while they wait make two torch processes on two cores ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest

from tests import broker, triton
from tests.servers import RedisServer, running, running_cluster

SERVERS = {"redis_server", "redis_cluster", "kafka", "triton_server"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start a server say so by their fixtures or by where they are; others mark themselves."""
    for item in items:
        if SERVERS.intersection(getattr(item, "fixturenames", ())) or "e2e" in item.path.parts:
            item.add_marker(pytest.mark.server)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Shared by all tests; each empties it before use."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[list[RedisServer]]:
    """Three nodes, shared likewise."""
    with running_cluster() as nodes:
        yield nodes


@pytest.fixture(scope="session")
def kafka() -> Iterator[broker.Broker]:
    """Shared by all tests; each makes its own topics."""
    with broker.running() as running:
        yield running


@pytest.fixture(scope="session")
def triton_server() -> Iterator[triton.Triton]:
    """With all of deploy/triton and the shipped starter; shared likewise."""
    with triton.running() as server:
        yield server.ready()
