"""`eyecatch generate`: connects Kafka, the shared queue and a generator. Needs the `kafka` and `redis` extras."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from eyecatch.addresses import without_secrets
from eyecatch.core.errors import InvalidInput
from eyecatch.core.generator import Generator
from eyecatch.core.ports import SharedQueue, Stores
from eyecatch.core.tasks import cancel
from eyecatch.generate.announce import KafkaAnnouncer
from eyecatch.generate.hub import Hub
from eyecatch.generate.intake import Intake
from eyecatch.generate.metrics import GenerateMetrics, MetricsObserver
from eyecatch.generate.worker import Worker
from eyecatch.kafka.buffer import Buffer
from eyecatch.kafka.dead_letters import topic_of
from eyecatch.kafka.producer import Producer
from eyecatch.kafka.retry import Retry
from eyecatch.kafka.source import BROKER, Source, SourceOptions
from eyecatch.observe.health import Health
from eyecatch.observe.page import page
from eyecatch.reader_config import GenerateConfig
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.wiring.generator import make_generator, register_metrics
from eyecatch.wiring.maker import maker, preload
from eyecatch.wiring.process import stop_signal, tune_garbage_collector
from eyecatch.wiring.stores import checkpoint, open_stores, shared_queue

log = structlog.get_logger(__name__)

# Requests wait in the queue, not in the buffer.
BUFFER = 1000


@dataclass(frozen=True)
class Generate:
    """A running process and its parts, for tests. `work` ends with the error that ended the process."""

    stores: Stores
    queue: SharedQueue
    worker: Worker
    source: Source
    health: Health
    metrics: GenerateMetrics
    health_port: int
    work: "asyncio.Future[None]"


@asynccontextmanager
async def generating(config: GenerateConfig, generator: Generator | None = None) -> AsyncIterator[Generate]:
    """Read requests and run jobs inside the context. At its end jobs that run longer than `drain_s` go back to the queue.

    Raises InvalidInput without a shared store, and the errors of opening the store.
    """
    client = config.kafka_client()
    health, metrics = Health(BROKER), GenerateMetrics()
    with page(config.health_host, config.health_port, metrics, health) as port:
        async with open_stores(config) as stores:
            queue = shared_queue(config, stores)
            if queue is None:
                raise InvalidInput.of("store", without_secrets(config.store), "redis://..., which the servers share")
            generator = generator or make_generator(config, checkpoint(config))
            register_metrics(metrics.registry, config, generator)
            outbox, retry = Producer(client), Retry(health, metrics, config.give_up_s)
            making = maker(
                config,
                stores,
                FsspecBlobs(config.blobs),
                generator,
                lambda item_id, new, gone: None,
                metrics.count_judged,
            )
            announcer = KafkaAnnouncer(outbox, config.requests_topic, config.generated_topic, retry, metrics)
            observer = MetricsObserver(metrics, health, config.give_up_s)
            worker = Worker(queue, making, Hub(), config.jobs, announcer, observer, alive=generator.alive)
            buffer = Buffer(BUFFER)
            options = SourceOptions(
                config.requests_topic,
                topic_of(config.requests_topic),
                config.group,
                config.topic_epoch,
                config.session_s,
                config.check_s,
                config.give_up_s,
                (config.generated_topic,),
            )
            source = Source(client, options, buffer, health, metrics)
            intake = Intake(buffer, source.done, queue, outbox, config.requests_topic, retry, metrics, worker.wake)
            source.start()
            reading = asyncio.ensure_future(source.consumed(intake.run))
            serving = asyncio.ensure_future(worker.run())
            line = metrics.line.watch(queue, stores.clock)
            background = [asyncio.ensure_future(w) for w in (preload(generator), line)]
            work = asyncio.ensure_future(_first_end(reading, serving))
            try:
                yield Generate(stores, queue, worker, source, health, metrics, port, work)
            finally:
                source.stop()
                await worker.drain(config.drain_s)
                await asyncio.gather(serving, return_exceptions=True)
                await cancel(reading, work, *background)
                await asyncio.to_thread(source.close)
                await outbox.close()
                await generator.close()


async def _first_end(*work: "asyncio.Future[None]") -> None:
    """Wait until the first of `work` ends, and raise its error. None of them ends while all is well."""
    done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
    for each in done:
        each.result()


async def generate(config: GenerateConfig, on_ready: Callable[[int], None], generator: Generator | None = None) -> None:
    """Run until SIGTERM or SIGINT, or until a server is unreachable for `give_up_s`. `on_ready` is called with the port of /health."""
    stop = stop_signal()
    async with generating(config, generator) as running:
        tune_garbage_collector()
        on_ready(running.health_port)
        await asyncio.wait({stop, running.work}, return_when=asyncio.FIRST_COMPLETED)
        running.health.trouble("process", "stopping")
        log.info("draining", running=len(running.worker.running))
    if not running.work.cancelled():
        running.work.result()
    log.info("stopped")
