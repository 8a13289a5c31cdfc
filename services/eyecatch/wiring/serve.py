"""Where everything is joined: configuration -> stores, generator, verbs, server. The only module that knows them all."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import structlog

from eyecatch.api.behavior import BehaviorServicer
from eyecatch.api.catalog import CatalogServicer
from eyecatch.api.covers import CoversServicer
from eyecatch.api.references import References
from eyecatch.api.server import Server, ServerOptions
from eyecatch.config import Config, EventLogConfig, MakingConfig, QueueConfig, ServedStoreConfig, StateConfig, part
from eyecatch.core.behaviour.forget import Forgetting
from eyecatch.core.behaviour.sinks import StoreSink
from eyecatch.core.catalog import Catalog
from eyecatch.core.defaults import SCORING
from eyecatch.core.errors import InvalidInput, NotReady, Unavailable
from eyecatch.core.ports import (
    Blobs,
    CatalogStore,
    CoverIndex,
    DecisionLog,
    Encoder,
    EventSink,
    Generator,
    JobQueue,
    Notes,
    ProfileStore,
    SharedQueue,
    Stores,
    Upscaler,
)
from eyecatch.core.recommending.decisions import DecisionBuffer
from eyecatch.core.recommending.pools import Pools
from eyecatch.core.recommending.recommend import Recommender
from eyecatch.core.score import Scoring
from eyecatch.core.tastes.clusters import TasteClusters, Tastes
from eyecatch.core.types import Budget, Cover, Origin
from eyecatch.encoders.learned import LearnedEncoder, cover_space, user_encoder
from eyecatch.generate.follow import Follower
from eyecatch.generate.hub import Hub
from eyecatch.generate.making import Maker, OnChange, OnJudged, Taste, unheard
from eyecatch.generate.service import GenerationService
from eyecatch.generate.worker import Worker
from eyecatch.generators.upscaling import PART, LocalUpscaler
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.cached_profiles import CachedProfiles
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.upkeep.clusters import ClusterOptions, keep_fitted, load
from eyecatch.upkeep.spaces import claim
from eyecatch.upkeep.sweep import keep_current
from eyecatch.wiring.generator import make_generator, metrics_page, tell_health

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Parts:
    """What every command on a data folder needs: its stores, and the generator that also embeds pictures."""

    store: Stores
    blobs: Blobs
    generator: Generator
    encoder: Encoder
    index: CoverIndex
    catalog: Catalog


def checkpoint(config: StateConfig) -> Path:
    """The folder of the models: the configured one or the shipped starter."""
    if config.checkpoint:
        return Path(config.checkpoint)
    from icg import starter

    return Path(starter.path())


async def current_encoder(config: StateConfig, stores: Stores) -> Encoder:
    """The checkpoint's encoder, with the taste clusters fitted last."""
    encoder = user_encoder(checkpoint(config))
    clusters = await load(stores.notes, encoder)
    if clusters is not None and isinstance(encoder, LearnedEncoder):
        encoder.adopt(clusters)
    return encoder


@dataclass(frozen=True)
class OpenStores:
    catalog: CatalogStore
    profiles: ProfileStore
    decisions: DecisionLog
    queue: JobQueue
    notes: Notes


@asynccontextmanager
async def open_stores(config: StateConfig, any_space: bool = False) -> AsyncIterator[Stores]:
    """The state. Raises what `_opened` raises, and StoreError when its covers belong to another checkpoint, unless `any_space`."""
    async with _opened(config) as stores:
        if not any_space:
            await claim(stores.catalog, stores.notes, cover_space(checkpoint(config)))
        yield stores


@asynccontextmanager
async def _opened(config: StateConfig) -> AsyncIterator[Stores]:
    """SQLite in the data folder, or Redis behind a read cache. Raises what their `open` raises, NotReady without the client library."""
    jobs, served = part(QueueConfig, config), part(ServedStoreConfig, config)
    budget = Budget(jobs.budget_per_item, jobs.budget_per_hour)
    if not config.store:
        embedded = SqliteStore.open(config.folder, max_waiting_jobs=jobs.queue_max, budget=budget)
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
        max_waiting_jobs=jobs.queue_max,
        max_log=part(EventLogConfig, config).store_log_max,
        retention_days=served.store_retention_days,
        lease_s=jobs.lease_s,
        budget=budget,
    )
    try:
        cached = CachedProfiles(shared.profiles, served.profile_cache_s, served.profile_cache_users)
        profiles = cached if served.profile_cache_s else shared.profiles
        yield OpenStores(shared.catalog, profiles, shared.decisions, shared.queue, shared.notes)
    finally:
        await shared.close()


@asynccontextmanager
async def open_parts(
    config: Config, generator: Generator | None = None, encoder: Encoder | None = None
) -> AsyncIterator[Parts]:
    """Open the stores. With SQLite the folder is this process's alone (StoreLocked when another one serves it)."""
    config.folder.mkdir(parents=True, exist_ok=True)
    async with open_stores(config) as store:
        generator = generator or make_generator(config, checkpoint(config))
        try:
            blobs = FsspecBlobs(config.blobs)
            index = FaissIndex()
            yield Parts(
                store,
                blobs,
                generator,
                encoder or await current_encoder(config, store),
                index,
                Catalog(store.catalog, blobs, generator, index),
            )
        finally:
            await generator.close()


@asynccontextmanager
async def open_ways(config: Config, parts: Parts) -> AsyncIterator[tuple[EventSink, JobQueue]]:
    """Recorded events go into the profiles, or with `kafka` into the topic that `eyecatch ingest` reads; cover requests likewise."""
    elsewhere = config.generation == "workers"
    if elsewhere and not (config.kafka and config.store):
        raise InvalidInput.of("generation", config.generation, "here, or kafka and store given too")
    if not config.kafka:
        yield StoreSink(parts.store.profiles, parts.encoder), parts.store.queue
        return
    try:
        from eyecatch.generate.announce import Requests
        from eyecatch.kafka.producer import KafkaSink, Producer
    except ModuleNotFoundError as error:
        raise NotReady("--kafka needs the Kafka client: pip install 'eyecatch[kafka]'") from error
    producer = Producer(config.kafka_client())
    queue, shared = parts.store.queue, shared_queue(config, parts.store)
    if elsewhere and shared is not None:
        queue = shared.through(Requests(producer, config.requests_topic))
    try:
        yield KafkaSink(producer, config.events_topic), queue
    finally:
        await producer.close()


def shared_queue(config: StateConfig, stores: Stores) -> SharedQueue | None:
    """The queue as other processes share it; None in SQLite, which has one process."""
    return cast(SharedQueue, stores.queue) if config.store else None


async def fill_index(parts: Parts, trust_made: bool) -> None:
    """Put every stored cover into the index, in chunks so that memory stays flat; made ones only where they are trusted."""
    ids: list[str] = []
    rows = []
    async for cover in parts.store.catalog.all_covers():
        if cover.provenance.origin is not Origin.CATALOGUE and not trust_made:
            continue
        ids.append(cover.id)
        rows.append(cover.embedding)
        if len(ids) == 4096:
            parts.index.add(ids, np.stack(rows))
            ids, rows = [], []
    if ids:
        parts.index.add(ids, np.stack(rows))


@dataclass(frozen=True)
class Application:
    """The server, answering on `port`, and the parts tests look into. `worker` is None where covers are made elsewhere."""

    parts: Parts
    server: Server
    worker: Worker | None
    decisions: DecisionBuffer
    tasks: "tuple[asyncio.Future[None], ...]"


@asynccontextmanager
async def application(
    config: Config, generator: Generator | None = None, encoder: Encoder | None = None
) -> AsyncIterator[Application]:
    """Open the data folder, answer calls and work in the background; on leaving, drain and close."""
    async with open_parts(config, generator, encoder) as parts, open_ways(config, parts) as (sink, queue):
        store = parts.store
        trusted = config.made_covers == "trusted"
        await fill_index(parts, trusted)
        requeued = await store.queue.recover()
        scoring = Scoring.parse(config.reward_weights, SCORING)
        pools = Pools(store.catalog, scoring, config.pool_size, thin_below=config.pool_min, trust_made=trusted)
        hub, tastes = Hub(), Tastes()

        def changed(item_id: str, new: Sequence[Cover], gone: Sequence[str]) -> None:
            shown = [c for c in new if trusted or c.provenance.origin is Origin.CATALOGUE]
            if shown:
                parts.index.add([c.id for c in shown], np.stack([c.embedding for c in shown]))
            parts.index.remove(gone)
            pools.drop([item_id])

        worker = None
        if config.generation == "here":
            worker = Worker(queue, maker(config, parts.store, parts.blobs, parts.generator, changed), hub, config.jobs)
        generation = GenerationService(queue, worker, hub, tastes, config.background_generation)
        follower = Follower(
            queue,
            hub,
            lambda: worker.running if worker else set(),
            shared_queue(config, store),
            partial(_changed_elsewhere, parts, pools, changed, trusted),
        )
        decisions = DecisionBuffer(store.decisions, pools)
        forgetting = Forgetting(store.profiles, store.catalog, store.queue, parts.blobs, parts.index, pools.drop)
        recommender = Recommender(
            pools, store.profiles, parts.encoder, decisions, generation.on_thin, config.exploration
        )
        server = Server(
            ServerOptions(
                config.host, config.port, config.max_concurrent, config.max_message_mb << 20, config.api_token
            ),
            CoversServicer(
                recommender,
                generation,
                store.catalog,
                store.profiles,
                parts.encoder,
                tastes,
                parts.blobs,
                parts.index,
                store.notes,
            ),
            CatalogServicer(parts.catalog, References(parts.blobs, config.hosts), pools),
            BehaviorServicer(store.profiles, sink, parts.encoder, tastes, forgetting),
        )
        await server.start()
        log.info("serving", host=config.host, port=server.port, covers=len(parts.index), jobs_recovered=requeued)
        work = [decisions.run(), generation.run_background(), follower.run()]
        if worker is not None:
            work.append(worker.run())
        work.append(_keep_fitted(config, parts, tastes))
        if config.reencode_every_s:
            work.append(keep_current(store.profiles, store.notes, parts.encoder, config.reencode_every_s))
        if config.preload:
            work.append(preload(parts.generator))
        if config.triton:
            work.append(tell_health(server, parts.generator))
        tasks = tuple(asyncio.ensure_future(w) for w in work)
        try:
            with metrics_page(config, parts.generator):
                yield Application(parts, server, worker, decisions, tasks)
        finally:
            log.info("draining")
            await server.drain(config.drain_s)
            if worker is not None:
                await worker.drain(0.0)
            await _end(tasks)
            await decisions.close()
    log.info("stopped")


def maker(
    config: MakingConfig,
    stores: Stores,
    blobs: Blobs,
    generator: Generator,
    changed: OnChange,
    on_judged: OnJudged = unheard,
) -> Maker:
    scoring = Scoring.parse(config.reward_weights, SCORING)
    taste = Taste(scoring, config.draws_per_cover, config.pool_size, config.attempts, config.guided_part())
    return Maker(stores.catalog, blobs, generator, changed, taste, on_judged, upscaler(config))


def upscaler(config: MakingConfig) -> Upscaler | None:
    """What enlarges kept covers, if anything does: as configured, or the checkpoint's own, or the shipped starter's."""
    if config.upscale == 1:
        return None
    own = checkpoint(config) / PART
    return LocalUpscaler(config.upscale, config.upscaler or (str(own) if config.checkpoint and own.is_dir() else ""))


async def _changed_elsewhere(
    parts: Parts, pools: Pools, changed: OnChange, trust_made: bool, items: Collection[str] | None
) -> None:
    if items is None:
        pools.drop([item_id for item_id in pools.items if item_id])
        return await fill_index(parts, trust_made)
    for item_id, pool in (await parts.store.catalog.pools(sorted(items))).items():
        changed(item_id, pool, ())


async def _end(tasks: "Sequence[asyncio.Future[None]]") -> None:
    """Cancel until all have ended: a cancellation that comes together with an answer of Redis can be lost on the way."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=0.1)
    await asyncio.gather(*tasks, return_exceptions=True)


async def serve(config: Config, on_ready: Callable[[int], None]) -> None:
    """Run the embedded server until SIGTERM or SIGINT. `on_ready` gets the port once calls are answered."""
    stop = stopped()
    async with application(config) as app:
        quieten_collector()
        on_ready(app.server.port)
        pending: set[asyncio.Future[Any]] = {stop, *app.tasks}
        while not stop.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a background task that broke must not go unnoticed


def stopped() -> "asyncio.Future[None]":
    """Done at the first SIGTERM or SIGINT from now on."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not stop.done():
            stop.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    return stop


def quieten_collector() -> None:
    """What start-up built lives as long as the process: without this every full collection walks it and stalls the work."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _keep_fitted(config: Config, parts: Parts, tastes: Tastes) -> None:
    def use(clusters: TasteClusters) -> None:
        tastes.current = clusters
        if isinstance(parts.encoder, LearnedEncoder) and clusters.generation:
            parts.encoder.adopt(clusters)

    options = ClusterOptions(config.clusters, config.cluster_users)
    await keep_fitted(parts.store.profiles, parts.store.notes, parts.encoder, options, config.clusters_every_s, use)


async def preload(generator: Generator) -> None:
    """Load the model while the first calls are already answered; without a model the fast path still works."""
    try:
        await generator.score([], [])
    except Unavailable as error:
        log.error("generator_unavailable", error=str(error))
