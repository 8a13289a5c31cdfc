"""`eyecatch serve`: builds the services, the server and the background tasks from the configuration."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from eyecatch.api.behavior import BehaviorServicer
from eyecatch.api.catalog import CatalogServicer
from eyecatch.api.covers import CoversServicer
from eyecatch.api.fetching import Fetcher
from eyecatch.api.references import References
from eyecatch.api.review import ReviewServicer
from eyecatch.api.server import Server, ServerOptions
from eyecatch.config import Config
from eyecatch.core.behaviour.forget import Forgetting
from eyecatch.core.behaviour.shown import ShownCovers
from eyecatch.core.behaviour.sinks import StoreSink
from eyecatch.core.errors import EyecatchError, InvalidInput, NotReady
from eyecatch.core.generator import Generator
from eyecatch.core.ports import Encoder, EventSink, JobQueue, Stores
from eyecatch.core.recommending.decisions import DecisionBuffer
from eyecatch.core.recommending.pools import Pools
from eyecatch.core.recommending.recommend import Recommender
from eyecatch.core.score import CLICKS
from eyecatch.core.tasks import cancel
from eyecatch.core.tastes.clusters import TasteClusters, Tastes
from eyecatch.core.trust.review import Review
from eyecatch.core.trust.standing import OFF, TRIAL, TRUSTED, is_shown
from eyecatch.core.types import Cover
from eyecatch.encoders.learned import LearnedEncoder
from eyecatch.generate.follow import Follower
from eyecatch.generate.hub import Hub
from eyecatch.generate.making import OnChange
from eyecatch.generate.service import GenerationService
from eyecatch.generate.worker import Worker
from eyecatch.observe.health import Health
from eyecatch.upkeep.clicks import keep_learning
from eyecatch.upkeep.clusters import ClusterOptions, keep_fitted
from eyecatch.upkeep.late_pictures import LatePictures
from eyecatch.upkeep.store_watch import DATA, STORE, watch_store
from eyecatch.upkeep.sweep import keep_current
from eyecatch.upkeep.trials import keep_trials
from eyecatch.wiring.cover_index import fill_index, keep_snapshots, open_index, snapshot
from eyecatch.wiring.generator import POLL_S, scoring, watch_health
from eyecatch.wiring.identity import open_identity
from eyecatch.wiring.maker import maker, preload
from eyecatch.wiring.process import stop_signal, tune_garbage_collector
from eyecatch.wiring.server_metrics import ServerMetrics, metrics_page
from eyecatch.wiring.stores import Parts, checkpoint, open_parts, shared_queue, vector_intake

if TYPE_CHECKING:
    from eyecatch.kafka.producer import Producer

log = structlog.get_logger(__name__)

PARTS = {"eyecatch.store": STORE, "eyecatch.personalisation": DATA}
"""Names of gRPC health -> parts of /health."""


@asynccontextmanager
async def open_outputs(config: Config, parts: Parts) -> AsyncIterator[tuple[EventSink, JobQueue]]:
    """The sink of events, which writes to the profiles or with `kafka` to a topic, and the queue of cover requests likewise."""
    by_workers = config.generation == "workers"
    if by_workers and not (config.kafka and config.store):
        raise InvalidInput.of("generation", config.generation, "here, or kafka and store given too")
    if not config.kafka:
        yield StoreSink(parts.store.profiles, parts.encoder), parts.store.queue
        return
    try:
        from eyecatch.generate.announce import RequestSender
        from eyecatch.kafka.producer import KafkaSink, Producer
    except ModuleNotFoundError as error:
        raise NotReady("--kafka needs the Kafka client: pip install 'eyecatch[kafka]'") from error
    producer = Producer(config.kafka_client())
    probe = asyncio.ensure_future(_report_kafka(producer))
    queue, shared = parts.store.queue, shared_queue(config, parts.store)
    if by_workers and shared is not None:
        queue = shared.with_log(RequestSender(producer, config.requests_topic))
    try:
        yield KafkaSink(producer, config.events_topic), queue
    finally:
        await cancel(probe)
        await producer.close()


async def _report_kafka(producer: "Producer") -> None:
    """Connect at the start, and report if that is not possible: until then every RecordEvents fails."""
    try:
        await producer.connect()
    except EyecatchError as error:
        log.warning("kafka_unreachable", why=str(error), effect="RecordEvents fails until a broker answers")


@dataclass(frozen=True)
class Application:
    """A running server and its parts, for tests. `worker` is None if other processes make covers."""

    parts: Parts
    server: Server
    worker: Worker | None
    decisions: DecisionBuffer
    tasks: "tuple[asyncio.Future[None], ...]"
    health: Health
    page_port: int

    async def leave(self, grace_s: float) -> None:
        """Say that no more calls should come, and answer all the same for `grace_s` seconds."""
        self.health.trouble("server", "stopping")
        await self.server.leave()
        await asyncio.sleep(grace_s)


@asynccontextmanager
async def application(
    config: Config, generator: Generator | None = None, encoder: Encoder | None = None, member: bool = False
) -> AsyncIterator[Application]:
    """Open the stores, answer calls and run background tasks inside the context. At its end drain and close.

    `member`: of several processes that share the ports.
    """
    identity = open_identity(config)
    async with open_parts(config, generator, encoder) as parts, open_outputs(config, parts) as (sink, queue):
        store, mode = parts.store, config.made_covers
        index_file = snapshot(config)
        await open_index(parts.index, store.catalog, mode, *index_file)
        requeued = await store.queue.recover()
        await identity.take_key(store.notes)
        pools = Pools(
            store.catalog,
            scoring(config, checkpoint(config)),
            config.pool_size,
            config.cached_items,
            thin_below=config.pool_min,
            mode=mode,
        )
        hub, tastes = Hub(), Tastes()

        def on_change(item_id: str, new: Sequence[Cover], removed: Sequence[str]) -> None:
            shown = [c for c in new if is_shown(c, mode)]
            if shown:
                parts.index.add([c.id for c in shown], np.stack([c.embedding for c in shown]))
            parts.index.remove([*removed, *(c.id for c in new if c not in shown)])
            pools.drop([item_id])

        on_remote_change = partial(_on_remote_change, parts, pools, on_change, mode)

        async def on_review(items: Sequence[str]) -> None:
            await on_remote_change(items)
            await store.queue.announce(items)

        worker = None
        if config.generation == "here":
            worker = Worker(
                queue,
                maker(config, parts.store, parts.blobs, parts.generator, on_change),
                hub,
                config.jobs,
                alive=parts.generator.alive,
            )
        generation = GenerationService(
            queue, worker, hub, tastes, store.clock, config.background_generation, making=mode != OFF
        )
        follower = Follower(
            queue,
            hub,
            lambda: worker.running if worker else set(),
            shared_queue(config, store),
            on_remote_change,
        )
        decisions = DecisionBuffer(store.decisions, pools)
        forgetting = Forgetting(store.profiles, store.catalog, store.queue, parts.blobs, parts.index, pools.drop)
        recommender = Recommender(
            pools,
            store.profiles,
            parts.encoder,
            decisions,
            generation.on_thin,
            config.exploration,
            trial_share=config.trial_share if mode == TRIAL else 0.0,
            clock=store.clock,
        )
        late = LatePictures(store.profiles, parts.encoder)
        server = Server(
            ServerOptions(
                config.host,
                config.port,
                config.max_concurrent,
                config.max_streams,
                config.max_imports,
                config.max_calls_per_connection,
                config.max_message_mb << 20,
                config.connection_age_s,
                config.connection_idle_s,
                config.health_port,
                identity.credentials,
                identity.gate,
                member,
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
            CatalogServicer(
                parts.catalog,
                References(parts.blobs, Fetcher(config.hosts, config.private_hosts)),
                pools,
                late.add,
            ),
            BehaviorServicer(
                store.profiles,
                sink,
                parts.encoder,
                tastes,
                forgetting,
                vector_intake(store, parts.encoder),
                ShownCovers(store.catalog),
                store.clock,
            ),
            ReviewServicer(Review(store.catalog, parts.blobs, on_review), store.catalog),
        )
        await server.start()
        log.info("serving", host=config.host, port=server.port, covers=len(parts.index), jobs_recovered=requeued)
        work = [decisions.run(), generation.run_background(), follower.run(), late.run()]
        if worker is not None:
            work.append(worker.run())
        work += [*_upkeep(config, parts, pools, tastes, on_review), keep_snapshots(parts.index, *index_file)]
        work += [file.watch() for file in identity.files]
        health = Health()
        if store.life is not None:
            work += [watch_store(store.life, health), _tell_parts(server, health)]
        if config.preload:
            work.append(preload(parts.generator))
        if config.triton:
            work.append(watch_health(server, parts.generator))
        tasks = tuple(asyncio.ensure_future(w) for w in work)
        metrics = ServerMetrics(server, recommender, decisions)
        async with metrics_page(config, metrics, health, parts, member) as page_port:
            try:
                yield Application(parts, server, worker, decisions, tasks, health, page_port)
            finally:
                log.info("draining")
                await server.drain(config.drain_s)
                if worker is not None:
                    await worker.drain(0.0)
                await cancel(*tasks)
                await decisions.close()
    log.info("stopped")


def _upkeep(
    config: Config, parts: Parts, pools: Pools, tastes: Tastes, on_review: Callable[[Sequence[str]], Awaitable[None]]
) -> list[Coroutine[Any, Any, None]]:
    """What runs now and then for as long as the server."""
    store = parts.store
    work = [_keep_fitted(config, parts, tastes), _keep_clicks(config, store, pools)]
    if config.reencode_every_s:
        work.append(keep_current(store.profiles, store.notes, parts.encoder, config.reencode_every_s))
    if config.trial_every_s and config.made_covers in (TRIAL, TRUSTED):
        work.append(keep_trials(store, config.made_covers, config.trial_every_s, on_review))
    return work


async def _tell_parts(server: Server, health: Health) -> None:
    """Bring the parts of gRPC health in line with /health, until cancelled."""
    while True:
        for name, part in PARTS.items():
            await server.set_health(name, health.works(part))
        await asyncio.sleep(POLL_S)


async def _on_remote_change(
    parts: Parts, pools: Pools, on_change: OnChange, mode: str, items: Collection[str] | None
) -> None:
    """Another process changed the pools of `items`, or of too many items to list (None)."""
    if items is None:
        pools.drop([item_id for item_id in pools.items if item_id])
        return await fill_index(parts.index, parts.store.catalog, mode)
    for item_id, pool in (await parts.store.catalog.pools(sorted(items))).items():
        on_change(item_id, pool, ())


async def serve(config: Config, on_ready: Callable[[int], None], member: bool = False) -> None:
    """Run the server until SIGTERM or SIGINT. `on_ready` is called with the port when calls are answered.

    `member`: of several processes that share it; then `on_ready` is called with the port of its page.
    """
    stop = stop_signal()
    async with application(config, member=member) as app:
        tune_garbage_collector()
        on_ready(app.page_port if member else app.server.port)
        pending: set[asyncio.Future[Any]] = {stop, *app.tasks}
        while not stop.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raise the error of a failed background task
        if stop.result() is signal.SIGTERM:  # who types Ctrl-C does not wait for a balancer
            await app.leave(config.grace_s)


async def _keep_clicks(config: Config, stores: Stores, pools: Pools) -> None:
    """Learn the reward CLICKS if it has a weight."""

    def use(values: Mapping[str, float], changed: Sequence[str]) -> None:
        pools.clicks = values
        pools.drop(changed)

    if pools.scoring.stores(CLICKS):
        await keep_learning(stores, config.clicks_every_s, use)


async def _keep_fitted(config: Config, parts: Parts, tastes: Tastes) -> None:
    def use(clusters: TasteClusters) -> None:
        tastes.current = clusters
        if isinstance(parts.encoder, LearnedEncoder) and clusters.generation:
            parts.encoder.adopt(clusters)

    options = ClusterOptions(config.clusters, config.cluster_users)
    store = parts.store
    await keep_fitted(store.profiles, store.notes, parts.encoder, options, config.clusters_every_s, use, store.clock)
