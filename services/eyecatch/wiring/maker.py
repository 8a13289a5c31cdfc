"""Configuration -> the maker and the upscaler, for processes that make covers."""

import structlog

from eyecatch.config import MakingConfig
from eyecatch.core.errors import Unavailable
from eyecatch.core.generator import Generator, Upscaler
from eyecatch.core.ports import Blobs, Stores
from eyecatch.generate.making import Maker, MakerOptions, OnChange, OnJudged, count_nothing
from eyecatch.generators.upscaling import PART, LocalUpscaler
from eyecatch.wiring.generator import scoring
from eyecatch.wiring.stores import checkpoint

log = structlog.get_logger(__name__)


def maker(
    config: MakingConfig,
    stores: Stores,
    blobs: Blobs,
    generator: Generator,
    on_change: OnChange,
    on_judged: OnJudged = count_nothing,
) -> Maker:
    return Maker(stores.catalog, blobs, generator, on_change, maker_options(config), on_judged, upscaler(config))


def maker_options(config: MakingConfig) -> MakerOptions:
    return MakerOptions(
        scoring(config, checkpoint(config)),
        config.draws_per_cover,
        config.pool_size,
        config.attempts,
        config.guided_part(),
        config.made_covers,
        config.safety_gate(),
    )


def upscaler(config: MakingConfig) -> Upscaler | None:
    """The configured upscaler, the checkpoint's own, or that of the shipped starter; None for no upscaling."""
    if config.upscale == 1:
        return None
    folder = checkpoint(config) / PART
    return LocalUpscaler(
        config.upscale, config.upscaler or (str(folder) if config.checkpoint and folder.is_dir() else "")
    )


async def preload(generator: Generator) -> None:
    """Load the model while the server already answers; the fast path works without a model."""
    try:
        await generator.score([], [])
    except Unavailable as error:
        log.error("generator_unavailable", error=str(error))
