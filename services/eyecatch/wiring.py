"""Where everything is joined: configuration -> stores, generator, verbs, server. The only module that knows them all."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from eyecatch.api.behavior import BehaviorServicer
from eyecatch.api.catalog import CatalogServicer
from eyecatch.api.covers import CoversServicer
from eyecatch.api.references import References
from eyecatch.api.server import Server, ServerOptions
from eyecatch.config import Config
from eyecatch.core.catalog import Catalog
from eyecatch.core.decisions import DecisionBuffer
from eyecatch.core.defaults import SCORING
from eyecatch.core.errors import NotReady, Unavailable
from eyecatch.core.pools import Pools
from eyecatch.core.ports import (
    Blobs,
    CatalogStore,
    CoverIndex,
    DecisionLog,
    Generator,
    JobQueue,
    ProfileStore,
    Stores,
)
from eyecatch.core.recommend import Recommender
from eyecatch.core.score import Scoring
from eyecatch.core.taste import user_embedding
from eyecatch.generate.hub import Hub
from eyecatch.generate.service import GenerationService
from eyecatch.generate.worker import Worker
from eyecatch.generators.local import LocalGenerator
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.cached import CachedProfiles
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.sqlite import SqliteStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Parts:
    """What every command on a data folder needs: its stores, and the generator that also embeds pictures."""

    store: Stores
    blobs: Blobs
    generator: Generator
    index: CoverIndex
    catalog: Catalog


@dataclass(frozen=True)
class OpenStores:
    catalog: CatalogStore
    profiles: ProfileStore
    decisions: DecisionLog
    queue: JobQueue


@asynccontextmanager
async def open_stores(config: Config) -> AsyncIterator[Stores]:
    """SQLite in the data folder, or Redis behind a read cache. Raises what their `open` raises, NotReady without the client library."""
    if not config.store:
        embedded = SqliteStore.open(config.folder, max_waiting_jobs=config.queue_max)
        try:
            yield embedded
        finally:
            embedded.close()
        return
    try:
        from eyecatch.stores.redis import RedisStore
    except ModuleNotFoundError as error:
        raise NotReady("--store redis://... needs the Redis client: pip install 'eyecatch[redis]'") from error
    shared = await RedisStore.open(
        config.store,
        max_waiting_jobs=config.queue_max,
        max_log=config.store_log_max,
        retention_days=config.store_retention_days,
    )
    try:
        cached = CachedProfiles(shared.profiles, config.profile_cache_s, config.profile_cache_users)
        profiles = cached if config.profile_cache_s else shared.profiles
        yield OpenStores(shared.catalog, profiles, shared.decisions, shared.queue)
    finally:
        await shared.close()


@asynccontextmanager
async def open_parts(config: Config, generator: Generator | None = None) -> AsyncIterator[Parts]:
    """Open the stores. With SQLite the folder is this process's alone (StoreLocked when another one serves it)."""
    config.folder.mkdir(parents=True, exist_ok=True)
    async with open_stores(config) as store:
        generator = generator or LocalGenerator(Path(config.checkpoint) if config.checkpoint else None)
        try:
            blobs = FsspecBlobs(config.blobs)
            index = FaissIndex()
            yield Parts(store, blobs, generator, index, Catalog(store.catalog, blobs, generator, index))
        finally:
            await generator.close()


async def fill_index(parts: Parts) -> None:
    """Put every stored cover into the index, in chunks so that memory stays flat."""
    ids: list[str] = []
    rows = []
    async for cover in parts.store.catalog.all_covers():
        ids.append(cover.id)
        rows.append(cover.embedding)
        if len(ids) == 4096:
            parts.index.add(ids, np.stack(rows))
            ids, rows = [], []
    if ids:
        parts.index.add(ids, np.stack(rows))


@dataclass(frozen=True)
class Application:
    """The embedded server, answering on `port`, and the parts tests look into."""

    parts: Parts
    server: Server
    worker: Worker
    decisions: DecisionBuffer
    tasks: "tuple[asyncio.Future[None], ...]"


@asynccontextmanager
async def application(config: Config, generator: Generator | None = None) -> AsyncIterator[Application]:
    """Open the data folder, answer calls and work in the background; on leaving, drain and close."""
    async with open_parts(config, generator) as parts:
        store = parts.store
        await fill_index(parts)
        requeued = await store.queue.recover()
        scoring = Scoring.parse(config.reward_weights, SCORING)
        pools = Pools(store.catalog, scoring, config.pool_size, thin_below=config.pool_min)
        hub = Hub()
        worker = Worker(
            store.queue, store.catalog, parts.blobs, parts.generator, parts.index, hub, pools.drop, config.pool_size
        )
        generation = GenerationService(store.queue, worker, hub, config.background_generation)
        decisions = DecisionBuffer(store.decisions, pools)
        recommender = Recommender(pools, store.profiles, decisions, generation.on_thin, config.exploration)
        server = Server(
            ServerOptions(
                config.host, config.port, config.max_concurrent, config.max_message_mb << 20, config.api_token
            ),
            CoversServicer(recommender, generation, store.catalog, store.profiles, parts.blobs, parts.index),
            CatalogServicer(parts.catalog, References(parts.blobs, config.hosts), pools),
            BehaviorServicer(store.profiles, user_embedding),
        )
        await server.start()
        log.info("serving", host=config.host, port=server.port, covers=len(parts.index), jobs_recovered=requeued)
        work = [decisions.run(), worker.run(), generation.run_background()]
        if config.preload:
            work.append(_preload(parts.generator))
        tasks = tuple(asyncio.ensure_future(w) for w in work)
        try:
            yield Application(parts, server, worker, decisions, tasks)
        finally:
            log.info("draining")
            await server.drain(config.drain_s)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await decisions.close()
    log.info("stopped")


async def serve(config: Config, on_ready: Callable[[int], None]) -> None:
    """Run the embedded server until SIGTERM or SIGINT. `on_ready` gets the port once calls are answered."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with application(config) as app:
        # What start-up built lives as long as the process: without this every full collection walks it and stalls calls.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        on_ready(app.server.port)
        stopping = asyncio.ensure_future(stop.wait())
        pending: set[asyncio.Future[Any]] = {stopping, *app.tasks}
        while not stopping.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a background task that broke must not go unnoticed


async def _preload(generator: Generator) -> None:
    """Load the model while the first calls are already answered; without a model the fast path still works."""
    try:
        await generator.score([], [])
    except Unavailable as error:
        log.error("generator_unavailable", error=str(error))
