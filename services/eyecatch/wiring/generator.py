"""Which generator the configuration asks for, and how its state is told: gRPC health under a name of its own, and /metrics."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from eyecatch.config import Config, MakingConfig
from eyecatch.core.defaults import SCORING
from eyecatch.core.errors import NotReady
from eyecatch.core.ports import Generator
from eyecatch.core.score import Scoring
from eyecatch.encoders.learned import cover_space
from eyecatch.generators.local import LocalGenerator

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from eyecatch.api.server import Server

HEALTH = "eyecatch.generator"
LOOK_S = 0.5


def make_generator(config: MakingConfig, checkpoint: Path) -> Generator:
    """In this process, or on Triton servers. Raises InvalidInput for what is no address, NotReady without the client library."""
    servers = config.triton_servers()
    if not servers:
        return LocalGenerator(
            Path(config.checkpoint) if config.checkpoint else None, Path(config.data_dir) / "products", engaging(config)
        )
    try:
        from eyecatch.generators.triton import Asking, TritonGenerator
    except ModuleNotFoundError as error:
        raise NotReady("--triton needs the Triton client: pip install 'eyecatch[triton]'") from error
    asking = Asking(config.triton_timeout_s, config.triton_level, cover_space(checkpoint), engaging=engaging(config))
    return TritonGenerator(servers, asking)


def engaging(config: MakingConfig) -> bool:
    """Whether covers are rated by engagement: where it has a weight, since each has to be read for it."""
    return Scoring.parse(config.reward_weights, SCORING).stores("engagement")


async def tell_health(server: "Server", generator: Generator) -> None:
    """Keep the health of HEALTH until cancelled, at most LOOK_S late, where the generator is on other servers."""
    from eyecatch.generators.triton import TritonGenerator

    if isinstance(generator, TritonGenerator):
        generator.start()
        while True:
            await server.tell(HEALTH, generator.available)
            await asyncio.sleep(LOOK_S)


def count(registry: "CollectorRegistry", config: MakingConfig, generator: Generator) -> None:
    """Tell `registry` of the servers that draw, if any do."""
    if config.triton:
        from eyecatch.generators.triton import TritonGenerator
        from eyecatch.generators.triton_metrics import EndpointCollector

        if isinstance(generator, TritonGenerator):
            registry.register(EndpointCollector(generator.endpoints.all))


@contextmanager
def metrics_page(config: Config, generator: Generator) -> Iterator[None]:
    """Answer /metrics meanwhile, where a port is set. Raises NotReady without the library, Unavailable when the port is taken."""
    if not config.metrics_port:
        yield
        return
    try:
        from eyecatch.observe.page import Registered, page
    except ModuleNotFoundError as error:
        raise NotReady(f"--metrics-port needs {error.name}: pip install 'eyecatch[triton]'") from error
    from eyecatch.observe.health import Health

    metrics = Registered()
    count(metrics.registry, config, generator)
    with page(config.host, config.metrics_port, metrics, Health()):
        yield
