"""What every test needs before anything is imported, and servers that are started once."""

import os
from collections.abc import Iterator

# OpenMP threads that spin while they wait make two torch processes on two cores ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest

from tests import broker, triton
from tests.servers import RedisServer, running, running_cluster

# pytest-xdist and some terminals set it, and tests look at tables as a pipe gets them.
os.environ.pop("COLUMNS", None)

LONG = (
    *(
        f"tests/unit/icg/{name}"
        for name in ("train/", "evaluate/", "scheduler/", "starter/", "space/", "gates/", "reliability/test_scenes")
    ),
    *(f"tests/unit/icg/draw/test_{name}" for name in ("devices", "grounds", "pairs", "preview", "pipeline")),
    *(f"tests/unit/icg/products/test_{name}" for name in ("product_serving", "lora", "inpainting")),
    *(
        f"tests/unit/icg/{name}"
        for name in ("commands/test_design", "commands/test_product", "design/test_engagement.py")
    ),
    "tests/unit/icg/compose/test_cover",
    *(f"tests/unit/icg/rewards/test_{name}" for name in ("aesthetic", "reader")),
    *(f"tests/unit/generators/test_{name}" for name in ("local", "spaces", "public_rewards")),
    "tests/unit/commands/test_flags",
)
"""Tests that train or fit a model or draw covers by the dozen: half of the time of all that start no server."""
SERVERS = {"redis_server", "redis_cluster", "kafka", "triton_server"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start a server say so by their fixtures or by where they are; others mark themselves."""
    for item in items:
        if SERVERS.intersection(getattr(item, "fixturenames", ())) or "e2e" in item.path.parts:
            item.add_marker(pytest.mark.server)
        if item.nodeid.startswith(LONG):
            item.add_marker(pytest.mark.long)


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
