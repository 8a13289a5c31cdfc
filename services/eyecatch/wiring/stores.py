"""Configuration -> stores, blobs, encoder, index and generator. Knows no server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from eyecatch.config import Config, EventLogConfig, QueueConfig, ServedStoreConfig, StateConfig
from eyecatch.core.behaviour.vectors import VectorIntake
from eyecatch.core.catalog import Catalog
from eyecatch.core.errors import InvalidInput, NotReady, StoreError
from eyecatch.core.generator import Generator
from eyecatch.core.ports import (
    Blobs,
    CatalogStore,
    Clock,
    DecisionLog,
    Encoder,
    JobQueue,
    Notes,
    ProfileStore,
    SharedQueue,
    StoreLife,
    Stores,
    UserVectors,
)
from eyecatch.core.types import Budget
from eyecatch.encoders.learned import LearnedEncoder, cover_space, user_encoder
from eyecatch.encoders.vectors import project
from eyecatch.settings import part
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.cached_profiles import CachedProfiles
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.upkeep.clusters import load
from eyecatch.upkeep.spaces import claim
from eyecatch.wiring.generator import make_generator

CHECKPOINT_PARTS = ("vlm", "diffusion", "adapter", "users", "space")
"""A checkpoint has at least one of these: users and space are enough if Triton draws."""


@dataclass(frozen=True)
class Parts:
    """The parts that a command on a data folder needs. The generator also embeds pictures."""

    store: Stores
    blobs: Blobs
    generator: Generator
    encoder: Encoder
    index: FaissIndex
    catalog: Catalog


def checkpoint(config: StateConfig) -> Path:
    """The folder of the models: the configured one or the shipped starter. Raises InvalidInput if it is no checkpoint."""
    if config.checkpoint:
        folder = Path(config.checkpoint)
        if not folder.is_dir():
            raise InvalidInput.of("checkpoint", config.checkpoint, "a folder that exists; there is no such folder")
        if not any((folder / name).exists() for name in CHECKPOINT_PARTS):
            raise InvalidInput.of(
                "checkpoint", config.checkpoint, f"a folder with one of {', '.join(CHECKPOINT_PARTS)} in it"
            )
        return folder
    from icg import starter

    return Path(starter.path())


async def current_encoder(config: StateConfig, stores: Stores) -> Encoder:
    """The checkpoint's encoder with the last fitted taste clusters."""
    encoder = user_encoder(checkpoint(config), config.space_folder)
    clusters = await load(stores.notes, encoder)
    if clusters is not None and isinstance(encoder, LearnedEncoder):
        encoder.adopt(clusters)
    return encoder


def vector_intake(stores: Stores, encoder: Encoder) -> VectorIntake:
    return VectorIntake(stores.vectors, stores.notes, encoder, project)


@dataclass(frozen=True)
class OpenStores:
    catalog: CatalogStore
    profiles: ProfileStore
    vectors: UserVectors
    decisions: DecisionLog
    queue: JobQueue
    notes: Notes
    clock: Clock
    life: StoreLife


@asynccontextmanager
async def open_stores(config: StateConfig, any_space: bool = False, read_only: bool = False) -> AsyncIterator[Stores]:
    """Open the stores; with `read_only` also an SQLite file that a server uses. Raises InvalidInput if there is no such checkpoint,
    StoreError if their covers are of another one, unless `any_space`, and errors of opening."""
    space = cover_space(checkpoint(config), config.space_folder)
    async with _connect_stores(config, read_only) as stores:
        if not any_space:
            await claim(stores.catalog, stores.notes, space, read_only)
        yield stores


@asynccontextmanager
async def _connect_stores(config: StateConfig, read_only: bool) -> AsyncIterator[Stores]:
    """SQLite in the data folder, or Redis with a read cache. Raises errors of opening, and NotReady without the client library."""
    jobs, served = part(QueueConfig, config), part(ServedStoreConfig, config)
    budget = Budget(jobs.budget_per_item, jobs.budget_per_hour)
    if not config.store:
        embedded = SqliteStore.open(config.folder, max_waiting_jobs=jobs.queue_max, budget=budget, read_only=read_only)
        try:
            yield embedded
        finally:
            embedded.close()
        return
    try:
        from eyecatch.stores.redis import QueueOptions, RedisStore
    except ModuleNotFoundError as error:
        raise NotReady("--store redis://... needs the Redis client: pip install 'eyecatch[redis]'") from error
    shared = await RedisStore.open(
        config.store,
        queue=QueueOptions(jobs.queue_max, jobs.lease_s, budget),
        max_log=part(EventLogConfig, config).store_log_max,
        retention_days=served.store_retention_days,
    )
    try:
        cached = CachedProfiles(shared.profiles, served.profile_cache_s, served.profile_cache_users)
        profiles = cached if served.profile_cache_s else shared.profiles
        yield OpenStores(
            shared.catalog,
            profiles,
            shared.vectors,
            shared.decisions,
            shared.queue,
            shared.notes,
            shared.clock,
            shared.life,
        )
    finally:
        await shared.close()


@asynccontextmanager
async def open_parts(
    config: Config, generator: Generator | None = None, encoder: Encoder | None = None
) -> AsyncIterator[Parts]:
    """Open the stores and build the parts. Raises StoreLocked if another process uses the SQLite folder."""
    checkpoint(config)
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot use {config.folder} as the data folder: {error.strerror or error}") from error
    async with open_stores(config) as store:
        generator = generator or make_generator(config, checkpoint(config))
        try:
            blobs = FsspecBlobs(config.blobs)
            index = FaissIndex()
            try:
                yield Parts(
                    store,
                    blobs,
                    generator,
                    encoder or await current_encoder(config, store),
                    index,
                    Catalog(store.catalog, blobs, generator, index),
                )
            finally:
                await asyncio.to_thread(index.close)
        finally:
            await generator.close()


def shared_queue(config: StateConfig, stores: Stores) -> SharedQueue | None:
    """The queue that processes share; None with SQLite, which has one process."""
    return cast(SharedQueue, stores.queue) if config.store else None
