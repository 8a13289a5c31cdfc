"""Configuration -> the generator, and its state in gRPC health and /metrics."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from eyecatch.config import MakingConfig
from eyecatch.core.defaults import SCORING, extended
from eyecatch.core.errors import NotReady
from eyecatch.core.generator import Generator
from eyecatch.core.score import Scoring
from eyecatch.encoders.learned import cover_space, reward_scales
from eyecatch.generators.local import LocalGenerator
from eyecatch.tls import Tls

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from eyecatch.api.server import Server

HEALTH = "eyecatch.generator"
POLL_S = 0.5


def make_generator(config: MakingConfig, checkpoint: Path) -> Generator:
    """In this process, or on Triton servers. Raises InvalidInput for a bad address or file, NotReady without the client library."""
    servers = config.triton_servers()
    if not servers:
        return LocalGenerator(
            Path(config.checkpoint) if config.checkpoint else None,
            Path(config.data_dir) / "products",
            engaging(config),
            config.space_folder,
            config.rewards,
            config.device,
        )
    try:
        from eyecatch.generators.triton import TritonGenerator, TritonOptions
    except ModuleNotFoundError as error:
        raise NotReady("--triton needs the Triton client: pip install 'eyecatch[triton]'") from error
    space = cover_space(checkpoint, config.space_folder)
    tls = Tls.of(config.triton_ca, config.triton_cert, config.triton_key)
    options = TritonOptions(config.triton_timeout_s, config.triton_level, space, engaging=engaging(config), tls=tls)
    return TritonGenerator(servers, options)


def engaging(config: MakingConfig) -> bool:
    """Whether covers get the reward `engagement`, for which the VLM reads each of them: only if it has a weight."""
    return Scoring.parse(config.reward_weights, extended(SCORING, config.reward_names())).stores("engagement")


def scoring(config: MakingConfig, checkpoint: Path) -> Scoring:
    """The rewards of the configuration with their weights, and scales of the cover space. A weight that is configured is stronger."""
    base = SCORING.scaled(reward_scales(checkpoint, config.space_folder))
    return Scoring.parse(config.reward_weights, extended(base, config.reward_names()))


async def watch_health(server: "Server", generator: Generator) -> None:
    """Update the gRPC health named HEALTH every POLL_S until cancelled, if the generator is on Triton servers."""
    from eyecatch.generators.triton import TritonGenerator

    if isinstance(generator, TritonGenerator):
        generator.start()
        while True:
            await server.set_health(HEALTH, generator.available)
            await asyncio.sleep(POLL_S)


def register_metrics(registry: "CollectorRegistry", config: MakingConfig, generator: Generator) -> None:
    """Register metrics of the Triton servers, if there are any."""
    if config.triton:
        from eyecatch.generators.triton import TritonGenerator
        from eyecatch.generators.triton_metrics import EndpointCollector

        if isinstance(generator, TritonGenerator):
            registry.register(EndpointCollector(generator.endpoints.all))
