"""Configuration -> the maker of covers, for processes that make them."""

import structlog

from eyecatch.config import MakingConfig
from eyecatch.core.defaults import SCORING
from eyecatch.core.errors import Unavailable
from eyecatch.core.ports import Blobs, Generator, Stores, Upscaler
from eyecatch.core.score import Scoring
from eyecatch.generate.making import Maker, MakerOptions, OnChange, OnJudged, count_nothing
from eyecatch.generators.upscaling import PART, LocalUpscaler
from eyecatch.wiring.stores import checkpoint

log = structlog.get_logger(__name__)


def maker(
    config: MakingConfig,
    stores: Stores,
    blobs: Blobs,
    generator: Generator,
    changed: OnChange,
    on_judged: OnJudged = count_nothing,
) -> Maker:
    scoring = Scoring.parse(config.reward_weights, SCORING)
    taste = MakerOptions(scoring, config.draws_per_cover, config.pool_size, config.attempts, config.guided_part())
    return Maker(stores.catalog, blobs, generator, changed, taste, on_judged, upscaler(config))


def upscaler(config: MakingConfig) -> Upscaler | None:
    """Enlarges covers that are kept: the configured one, the checkpoint's own, or the shipped starter's; None for no upscaling."""
    if config.upscale == 1:
        return None
    own = checkpoint(config) / PART
    return LocalUpscaler(config.upscale, config.upscaler or (str(own) if config.checkpoint and own.is_dir() else ""))


async def preload(generator: Generator) -> None:
    """Load the model while the server already answers; without a model the fast path still works."""
    try:
        await generator.score([], [])
    except Unavailable as error:
        log.error("generator_unavailable", error=str(error))
