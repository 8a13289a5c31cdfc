"""Where everything is joined: configuration -> stores, generator, verbs, server. The only module that knows them all."""

import asyncio
import contextlib
import gc
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from eyecatch.config import Config
from eyecatch.core.catalog import Catalog
from eyecatch.core.decisions import DecisionBuffer
from eyecatch.core.defaults import SCORING
from eyecatch.core.errors import Unavailable
from eyecatch.core.pools import Pools
from eyecatch.core.ports import Blobs, CoverIndex, Generator
from eyecatch.core.recommend import Recommender
from eyecatch.core.score import Scoring
from eyecatch.core.taste import user_embedding
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.sqlite import SqliteStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Parts:
    """What every command on a data folder needs: its stores, and the generator that also embeds pictures."""

    store: SqliteStore
    blobs: Blobs
    generator: Generator
    index: CoverIndex
    catalog: Catalog


@asynccontextmanager
async def open_parts(config: Config, generator: Generator | None = None) -> AsyncIterator[Parts]:
    """Open the data folder for this process alone. Raises StoreLocked when another one serves it, StoreTooNew, StoreError."""
    from eyecatch.generators.local import LocalGenerator

    config.folder.mkdir(parents=True, exist_ok=True)
    store = SqliteStore.open(config.folder, max_waiting_jobs=config.queue_max)
    generator = generator or LocalGenerator(Path(config.checkpoint) if config.checkpoint else None)
    try:
        blobs = FsspecBlobs(config.blobs)
        index = FaissIndex()
        yield Parts(store, blobs, generator, index, Catalog(store.catalog, blobs, generator, index))
    finally:
        await generator.close()
        store.close()


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


async def serve(config: Config, on_ready: Callable[[int], None], generator: Generator | None = None) -> None:
    """Run the embedded server until SIGTERM or SIGINT, then drain. `on_ready` gets the port once calls are answered."""
    from eyecatch.api.behavior import BehaviorServicer
    from eyecatch.api.catalog import CatalogServicer
    from eyecatch.api.covers import CoversServicer
    from eyecatch.api.references import References
    from eyecatch.api.server import Server, ServerOptions
    from eyecatch.generate.hub import Hub
    from eyecatch.generate.service import GenerationService
    from eyecatch.generate.worker import Worker

    async with open_parts(config, generator) as parts:
        store = parts.store
        await fill_index(parts)
        requeued = await store.queue.recover()
        pools = Pools(store.catalog, Scoring.parse(config.reward_weights, SCORING), config.pool_size)
        hub = Hub()
        worker = Worker(
            store.queue, store.catalog, parts.blobs, parts.generator, parts.index, hub, pools.drop, config.pool_size
        )
        generation = GenerationService(store.queue, worker, hub, config.background_generation)
        decisions = DecisionBuffer(store.decisions)
        recommender = Recommender(
            pools, store.profiles, decisions, generation.on_thin, config.exploration, config.pool_min
        )
        server = Server(
            ServerOptions(
                config.host, config.port, config.max_concurrent, config.max_message_mb << 20, config.api_token
            ),
            CoversServicer(recommender, generation, store.catalog, store.profiles, parts.blobs, parts.index),
            CatalogServicer(parts.catalog, References(parts.blobs, config.hosts), pools),
            BehaviorServicer(store.profiles, user_embedding),
        )
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        # What start-up built lives as long as the process: without this every full collection walks it and stalls the calls.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        await server.start()
        log.info("serving", host=config.host, port=server.port, covers=len(parts.index), jobs_recovered=requeued)
        on_ready(server.port)
        tasks = [decisions.run(), worker.run(), generation.run_background()]
        if config.preload:
            tasks.append(_preload(parts.generator))
        await _until(stop, [asyncio.ensure_future(t) for t in tasks], lambda: server.drain(config.drain_s))
        await decisions.close()
        log.info("stopped")


async def _preload(generator: Generator) -> None:
    """Load the model while the first calls are already answered; without a model the fast path still works."""
    try:
        await generator.score([], [])
    except Unavailable as error:
        log.error("generator_unavailable", error=str(error))


async def _until(
    stop: asyncio.Event, tasks: Sequence["asyncio.Future[None]"], drain: Callable[[], Awaitable[None]]
) -> None:
    """Wait for the stop signal or for a background task to break, which must not go unnoticed."""
    stopping = asyncio.ensure_future(stop.wait())
    try:
        pending: set[asyncio.Future[Any]] = {stopping, *tasks}
        while not stopping.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
        log.info("draining")
        await drain()
    finally:
        stopping.cancel()
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, sqlite3.Error):
            await asyncio.gather(*tasks, return_exceptions=True)
