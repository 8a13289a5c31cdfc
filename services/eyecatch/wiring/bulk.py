"""Configuration -> what a shard opens in its process, here or on a worker, to draw or to embed covers."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from eyecatch.config import MakingConfig
from eyecatch.core.generator import Generator
from eyecatch.encoders.learned import cover_space
from eyecatch.generate.making import Drafts
from eyecatch.generators.local import LocalGenerator
from eyecatch.shards import ShardResults, opened, waited
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.wiring.generator import engaging, make_generator
from eyecatch.wiring.maker import maker_options, upscaler
from eyecatch.wiring.stores import checkpoint

MODEL = ("checkpoint", "space", "rewards", "reward_weights")
DRAWING = ("triton", "made_covers", "least_safety", "draws_per_cover", "attempts", "guided", "upscale", "upscaler")


@dataclass(frozen=True)
class OpenEmbedder:
    """The model that embeds and rates covers. The checkpoint must be at the same path on every worker."""

    config: MakingConfig

    def __call__(self) -> Generator:
        config = self.config
        return LocalGenerator(
            checkpoint(config), None, engaging(config), config.space_folder, config.rewards, config.device
        )

    @property
    def model(self) -> str:
        """Names the model and all that rewards depend on."""
        return _names(self.config, MODEL)


@dataclass(frozen=True)
class OpenGenerator:
    """What draws covers."""

    config: MakingConfig

    def __call__(self) -> Generator:
        return make_generator(self.config, checkpoint(self.config))


@dataclass(frozen=True)
class OpenDrafts:
    """What draws covers and stores their images."""

    generator: OpenGenerator

    def __call__(self) -> Drafts:
        config = self.generator.config
        blobs, generator = FsspecBlobs(config.blobs), opened(self.generator)
        return Drafts(blobs, generator, maker_options(config), upscaler=upscaler(config))

    @property
    def model(self) -> str:
        """Names the model and all settings that a cover depends on."""
        return _names(self.generator.config, MODEL + DRAWING)


@contextmanager
def interrupted(config: MakingConfig, name: str) -> Iterator[ShardResults]:
    """The results of a job in the data folder, from which it goes on after an interruption; removed when it ends well."""
    folder = config.folder / "jobs" / name
    yield ShardResults(folder)
    shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def closed(generator: Callable[[], Generator], here: bool) -> AsyncIterator[None]:
    """Close the generator of this process at the end, if shards run here; those of workers end with them."""
    try:
        yield
    finally:
        if here:
            await asyncio.to_thread(lambda: waited(opened(generator).close()))
            opened.cache_clear()


def _names(config: MakingConfig, fields: tuple[str, ...]) -> str:
    space = cover_space(checkpoint(config), config.space_folder)
    return "\n".join([f"{space:04x}", *(f"{name}={getattr(config, name)}" for name in fields)])
