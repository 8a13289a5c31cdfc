"""`eyecatch ingest` and its dead letters: connects Kafka and the stores. Needs the `kafka` extra."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import structlog
import uvloop

from eyecatch.core.behaviour.shown import ShownCovers
from eyecatch.core.behaviour.vectors import VectorIntake
from eyecatch.core.ports import ProfileStore
from eyecatch.core.tasks import cancel
from eyecatch.ingest.loop import Loop
from eyecatch.ingest.marks import Marks, name
from eyecatch.ingest.metrics import IngestMetrics, VectorMetrics
from eyecatch.ingest.vectors import VectorLoop
from eyecatch.kafka.buffer import Buffer
from eyecatch.kafka.client import Options
from eyecatch.kafka.dead_letters import DeadLetter, DeadLetters, topic_of
from eyecatch.kafka.producer import Producer
from eyecatch.kafka.retry import Retry
from eyecatch.kafka.rewind import Rewind, Rewound
from eyecatch.kafka.source import BROKER, Source, SourceOptions
from eyecatch.kafka_config import KafkaConfig
from eyecatch.observe.health import Health
from eyecatch.observe.logs import configure
from eyecatch.observe.page import page
from eyecatch.reader_config import IngestConfig
from eyecatch.upkeep.store_watch import watch_store
from eyecatch.wiring.members import HOST, run_members
from eyecatch.wiring.process import stop_signal, tune_garbage_collector
from eyecatch.wiring.stores import current_encoder, open_stores, vector_intake

log = structlog.get_logger(__name__)

REPLAY_GROUP = "eyecatch-dlq-replay"
VECTORS = "broker (embeddings)"
VECTORS_MAX = 10_000
YOUNG = 500_000


@dataclass(frozen=True)
class Ingest:
    """A running ingest and its parts, for tests. `work` ends after draining, or with the error that ended it."""

    profiles: ProfileStore
    source: Source
    buffer: Buffer
    health: Health
    metrics: IngestMetrics
    health_port: int
    work: "asyncio.Future[None]"


@asynccontextmanager
async def ingesting(config: IngestConfig) -> AsyncIterator[Ingest]:
    """Read, absorb and commit inside the context. At its end absorb the buffer for `drain_s`, commit and leave the group.

    Only one process can use an SQLite folder. Raises the errors of opening the stores.
    """
    client = config.kafka_client()
    health, metrics = Health(BROKER, *([VECTORS] if config.embeddings_topic else [])), IngestMetrics()
    with page(config.health_host, config.health_port, metrics, health) as port:
        async with open_stores(config) as stores:
            encoder = await current_encoder(config, stores)
            buffer = Buffer(config.buffer_max)
            source = Source(client, _options(config, config.events_topic), buffer, health, metrics)
            outbox = Producer(client)
            retry, sinks = (
                Retry(health, metrics, config.give_up_s),
                (stores.profiles, encoder, ShownCovers(stores.catalog), outbox),
            )
            # The file of SQLite holds profiles and marks alike, and nobody else loses it.
            marks = Marks(stores.notes, stores.profiles, source.resumed) if config.store else None
            loop = Loop(
                buffer, source.done, *sinks, config.events_topic, config.batch_max, retry, metrics, stores.clock, marks
            )
            source.start()
            watch = asyncio.ensure_future(watch_store(stores.life, health)) if stores.life else None
            works: dict[Source, asyncio.Future[None]] = {source: asyncio.ensure_future(source.consumed(loop.run))}
            if config.embeddings_topic:
                intake = vector_intake(stores, encoder)
                works |= _read_vectors(config, client, intake, outbox, health, VectorMetrics(metrics.registry))
            ended = asyncio.ensure_future(_first_error(list(works.values())))
            try:
                yield Ingest(stores.profiles, source, buffer, health, metrics, port, ended)
            finally:
                if watch is not None:
                    await cancel(watch)
                await _drain(works, config.drain_s)
                await asyncio.wait([ended])
                await outbox.close()


def _options(config: IngestConfig, topic: str, group: str = "", part: str = BROKER) -> SourceOptions:
    return SourceOptions(
        topic,
        topic_of(topic),
        config.group + group,
        config.topic_epoch,
        config.session_s,
        config.check_s,
        config.give_up_s,
        part=part,
    )


def _read_vectors(
    config: IngestConfig,
    client: Options,
    intake: VectorIntake,
    outbox: Producer,
    health: Health,
    metrics: VectorMetrics,
) -> "dict[Source, asyncio.Future[None]]":
    """Read the topic of embeddings too, as a group of its own: members of one group must read the same topics."""
    buffer = Buffer(VECTORS_MAX)
    source = Source(client, _options(config, config.embeddings_topic, "-embeddings", VECTORS), buffer, health, metrics)
    loop = VectorLoop(buffer, source.done, intake, outbox, Retry(health, metrics, config.give_up_s), metrics)
    source.start()
    return {source: asyncio.ensure_future(source.consumed(loop.run))}


async def _first_error(works: "Sequence[asyncio.Future[None]]") -> None:
    """Ends with the first error, or when all have ended; an error of one ends the process, which reads neither topic then."""
    await asyncio.wait(works, return_when=asyncio.FIRST_EXCEPTION)
    for work in works:
        if work.done():
            work.result()


async def _drain(works: "Mapping[Source, asyncio.Future[None]]", drain_s: float) -> None:
    for source in works:
        source.stop()
    _, running = await asyncio.wait(works.values(), timeout=drain_s)
    if running:
        # Nothing is lost: the next reader reads uncommitted records again.
        log.warning("drain_cut_short", after_s=drain_s)
        await cancel(*running)
    for source in works:
        await asyncio.to_thread(source.close)


def tune_for_batches() -> None:
    """As `tune_garbage_collector`, with a larger young generation: a batch has many objects, all of them in use."""
    tune_garbage_collector()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])


@asynccontextmanager
async def ingest_processes(config: IngestConfig) -> AsyncIterator[tuple[int, "asyncio.Future[None]"]]:
    """Run `config.processes` members of the group and one page for all. Yields its port, and a future that ends with the first member.

    Raises Unavailable if a member cannot start or the port is in use.
    """
    alone = replace(config, processes=1, health_host=HOST, health_port=0)
    works = [partial(run_member, alone, number) for number in range(config.processes)]
    async with run_members("ingest", works) as members:
        with page(config.health_host, config.health_port, members.page, members.page) as port:
            try:
                yield port, members.ended
            finally:
                await members.stop()


def run_member(config: IngestConfig, number: int, on_ready: Callable[[int], None]) -> None:
    """Run one member, in a process of its own."""
    configure(config.log_format, process=number)
    uvloop.run(ingest(config, on_ready))


async def ingest(config: IngestConfig, on_ready: Callable[[int], None]) -> None:
    """Run until SIGTERM or SIGINT, or until a server is unreachable for `give_up_s`. `on_ready` is called with the port of /health."""
    stop = stop_signal()
    if config.processes > 1:
        async with ingest_processes(config) as (port, ended):
            on_ready(port)
            await asyncio.wait({stop, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended.result()
        return
    async with ingesting(config) as running:
        tune_for_batches()
        on_ready(running.health_port)
        await asyncio.wait({stop, running.work}, return_when=asyncio.FIRST_COMPLETED)
        running.health.trouble("process", "stopping")
        log.info("draining", buffered=len(running.buffer))
    if not running.work.cancelled():
        running.work.result()
    log.info("stopped")


async def rewind(config: IngestConfig) -> Sequence[Rewound]:
    """Move the committed offsets of events back to the marks of the store. Raises Unavailable, NotFound, errors of opening."""
    group = Rewind(config.kafka_client(), config.events_topic, config.group, config.topic_epoch)
    async with open_stores(config) as stores:
        committed = await asyncio.to_thread(group.partitions)
        notes = {place: await stores.notes.read(name(log, place)) for place, (_, log) in committed.items()}
    return await asyncio.to_thread(group.to, lambda log, place: int(notes[place] or 0))


def dead_letters(config: KafkaConfig, topic: str, limit: int) -> Sequence[DeadLetter]:
    """The latest dead letters of a topic, oldest first. Raises NotFound, Unavailable, NotReady."""
    return DeadLetters(config.kafka_client(), topic, REPLAY_GROUP).show(limit)


async def replay(config: KafkaConfig, topic: str, limit: int) -> int:
    """Send dead letters that were not replayed yet back to their topics; returns how many."""
    producer = Producer(config.kafka_client())
    try:
        return await DeadLetters(config.kafka_client(), topic, REPLAY_GROUP).replay(producer, limit)
    finally:
        await producer.close()
