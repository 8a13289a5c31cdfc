"""`eyecatch ingest` and its dead letters: Kafka and the stores, joined. Needs the `kafka` extra."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import structlog
import uvloop

from eyecatch.config import IngestConfig, KafkaConfig
from eyecatch.core.ports import ProfileStore
from eyecatch.ingest.loop import Loop
from eyecatch.ingest.metrics import Metrics
from eyecatch.kafka.buffer import Buffer
from eyecatch.kafka.dead_letters import DeadLetter, DeadLetters, topic_of
from eyecatch.kafka.processes import HOST, started
from eyecatch.kafka.producer import Producer
from eyecatch.kafka.source import BROKER, Source, SourceOptions
from eyecatch.observe.health import Health
from eyecatch.observe.logs import configure
from eyecatch.observe.page import page
from eyecatch.wiring.process import quieten_collector, stopped
from eyecatch.wiring.stores import current_encoder, open_stores

log = structlog.get_logger(__name__)

REPLAY_GROUP = "eyecatch-dlq-replay"
YOUNG = 500_000


@dataclass(frozen=True)
class Ingest:
    """A running ingest, and the parts that tests look into. `work` ends when it has drained, or with the error that broke it."""

    profiles: ProfileStore
    source: Source
    buffer: Buffer
    health: Health
    metrics: Metrics
    health_port: int
    work: "asyncio.Future[None]"


@asynccontextmanager
async def ingesting(config: IngestConfig) -> AsyncIterator[Ingest]:
    """Read, absorb and commit inside the context; on leaving, absorb for `drain_s` what was read, commit and leave the group.

    An SQLite folder belongs to this process alone. Raises what the stores raise if they cannot be opened.
    """
    client = config.kafka_client()
    health, metrics = Health(BROKER), Metrics()
    with page(config.health_host, config.health_port, metrics, health) as port:
        async with open_stores(config) as stores:
            encoder = await current_encoder(config, stores)
            buffer = Buffer(config.buffer_max)
            options = SourceOptions(
                config.events_topic,
                topic_of(config.events_topic),
                config.group,
                config.topic_epoch,
                config.session_s,
                config.check_s,
                config.give_up_s,
            )
            source = Source(client, options, buffer, health, metrics)
            outbox = Producer(client)
            loop = Loop(
                buffer, source.done, stores.profiles, encoder, outbox,
                config.events_topic, config.batch_max, config.give_up_s, health, metrics,
            )  # fmt: skip
            source.start()
            work = asyncio.ensure_future(source.consumed(loop.run))
            try:
                yield Ingest(stores.profiles, source, buffer, health, metrics, port, work)
            finally:
                await _drain(source, work, config.drain_s)
                await outbox.close()


async def _drain(source: Source, work: "asyncio.Future[None]", drain_s: float) -> None:
    source.stop()
    done, _ = await asyncio.wait([work], timeout=drain_s)
    if not done:
        # Nothing is lost: what is not committed is read again by the next reader.
        log.warning("drain_cut_short", after_s=drain_s)
        work.cancel()
        await asyncio.wait([work])
    await asyncio.to_thread(source.close)


def quieten() -> None:
    """As a server does, and with a larger young generation: a batch has many objects, all of them in use."""
    quieten_collector()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])


@asynccontextmanager
async def several(config: IngestConfig) -> AsyncIterator[tuple[int, "asyncio.Future[None]"]]:
    """`config.processes` members of the group and one page for all of them: its port, and a future that ends with the first member.

    Raises Unavailable when one of them cannot start or the page's port is taken.
    """
    alone = replace(config, processes=1, health_host=HOST, health_port=0)
    async with started([partial(member, alone, number) for number in range(config.processes)]) as (members, ended):
        with page(config.health_host, config.health_port, members, members) as port:
            yield port, ended


def member(config: IngestConfig, number: int, on_ready: Callable[[int], None]) -> None:
    """One of several, in a process of its own."""
    configure(config.log_format, process=number)
    uvloop.run(ingest(config, on_ready))


async def ingest(config: IngestConfig, on_ready: Callable[[int], None]) -> None:
    """Run until SIGTERM or SIGINT, or until a server was unreachable for too long. `on_ready` gets the port of /health once it answers."""
    stop = stopped()
    if config.processes > 1:
        async with several(config) as (port, ended):
            on_ready(port)
            await asyncio.wait({stop, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended.result()
        return
    async with ingesting(config) as running:
        quieten()
        on_ready(running.health_port)
        await asyncio.wait({stop, running.work}, return_when=asyncio.FIRST_COMPLETED)
        log.info("draining", buffered=len(running.buffer))
    if not running.work.cancelled():
        running.work.result()
    log.info("stopped")


def dead_letters(config: KafkaConfig, topic: str, limit: int) -> Sequence[DeadLetter]:
    """The latest dead letters of a topic, oldest first. Raises NotFound, Unavailable, NotReady."""
    return DeadLetters(config.kafka_client(), topic, REPLAY_GROUP).show(limit)


async def replay(config: KafkaConfig, topic: str, limit: int) -> int:
    """Send dead letters that were never replayed back to where they came from; how many."""
    producer = Producer(config.kafka_client())
    try:
        return await DeadLetters(config.kafka_client(), topic, REPLAY_GROUP).replay(producer, limit)
    finally:
        await producer.close()
