"""The reading thread: one member of the consumer group that fills the buffer and commits what was absorbed.

kafka-python blocks and is not thread-safe, so one thread owns the consumer and everything else talks to it through the buffer and
`done`. ReaderMetrics on a thread overlaps the network and the decompression of the next records with the absorption of these.
"""

import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka import errors as kafka
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState

from eyecatch.core.backoff import Backoff
from eyecatch.core.errors import EyecatchError, Unavailable
from eyecatch.kafka.buffer import Buffer, Chunk
from eyecatch.kafka.client import Brokers, Options, connected, translate, translated
from eyecatch.kafka.commits import Commits
from eyecatch.kafka.metrics import ReaderMetrics
from eyecatch.kafka.offsets import Log, Place, place
from eyecatch.kafka.records import Record
from eyecatch.observe.health import Health

log = structlog.get_logger(__name__)

BROKER = "broker"
WAIT = Backoff(0.1, 5.0)
# How long a poll waits for records; what is to be committed or paused meanwhile waits as long.
POLL_MS = 50
# Longer while the group is being joined: kafka-python starts a join anew that a poll has left half done.
JOIN_MS = 2000
# Smaller than a batch, so that several partitions share one and the buffer's bound is kept closely.
POLL_RECORDS = 2000
FETCH_BYTES = 16 << 20
# Some brokers look for new records only when a fetch begins and when its wait ends: half a second by default.
FETCH_WAIT_MS = 50


@dataclass(frozen=True)
class SourceOptions:
    """`dead_letters` and `others` are topics that are made if they do not exist; `epoch` tells topics apart where brokers do not."""

    topic: str
    dead_letters: str
    group: str
    epoch: int = 0
    session_s: float = 10.0
    check_s: float = 5.0
    give_up_s: float = 600.0
    others: Sequence[str] = ()


class Source:
    """start -> (buffer.take, done)... -> stop -> (the rest of it) -> close."""

    def __init__(
        self, client: Options, options: SourceOptions, buffer: Buffer, health: Health, metrics: ReaderMetrics
    ) -> None:
        self._client, self._options, self._buffer = client, options, buffer
        self._health, self._metrics = health, metrics
        self._lock = threading.Lock()  # what the listener changes, from kafka-python's own thread
        self._unplaced: set[TopicPartition] = set()
        self._refused: dict[
            TopicPartition, int | None
        ] = {}  # offsets outside the log; up to where it is the one we know
        self._places: dict[TopicPartition, tuple[int, Log]] = {}  # the next offset to come, and its log
        self._commits = Commits(metrics)
        self._stopping, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="eyecatch-ingest-reader", daemon=True)
        self._next_check = 0.0
        self._topic_id = ""
        self._paused = False
        self.error: EyecatchError | Exception | None = None

    def start(self) -> None:
        self._thread.start()

    async def consumed(self, work: Callable[[], Awaitable[None]]) -> None:
        """`work`, which takes from the buffer, to its end; then raises what ended the reading, if anything did."""
        await work()
        if self.error is not None:
            raise self.error

    def done(self, chunks: Iterable[Chunk]) -> None:
        """These are absorbed and acknowledged: their offsets may be committed."""
        self._commits.add(chunks)

    def stop(self) -> None:
        """Read no more; what was read can still be taken and done."""
        self._stopping.set()

    def close(self) -> None:
        """Commit what is done and leave the group. Blocks for a few seconds at most."""
        self._stopping.set()
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(3 * self._client["request_timeout_ms"] / 1000)

    def _run(self) -> None:
        try:
            connected = self._connect()
            if connected is None:
                return
            brokers, self._consumer = connected
            try:
                self._consumer.subscribe([self._options.topic], listener=_Listener(self))
                self._read(brokers)
            finally:
                self._leave(brokers)
        except Exception as error:  # noqa: BLE001 (the consumer loop: whatever it is, the process must learn of it)
            self.error = error
        finally:
            self._buffer.close()

    def _connect(self) -> tuple[Brokers, KafkaConsumer] | None:
        """Tries until it succeeds, gives up, or is stopped (None)."""
        attempt = 0
        while not self._stopping.is_set():
            try:
                brokers = Brokers(self._client)
                try:
                    for name in (self._options.dead_letters, *self._options.others):
                        brokers.ensure(name)
                    return brokers, self._consumer_of_the_group()
                except EyecatchError:
                    brokers.close()
                    raise
            except Unavailable as error:
                self._trouble(error)
                self._metrics.retries.labels(BROKER).inc()
                self._stopping.wait(WAIT(attempt))
                attempt += 1
        return None

    def _consumer_of_the_group(self) -> KafkaConsumer:
        session_ms = round(self._options.session_s * 1000)
        own = {
            "group_id": self._options.group,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",  # where to go on is decided in places.py, aloud
            "isolation_level": "read_committed",
            "partition_assignment_strategy": [CooperativeStickyAssignor],
            "session_timeout_ms": session_ms,
            "heartbeat_interval_ms": session_ms // 5,
            "max_poll_interval_ms": 2 * session_ms,
            "metadata_max_age_ms": round(self._options.check_s * 1000),
            "fetch_max_bytes": FETCH_BYTES,
            "fetch_max_wait_ms": FETCH_WAIT_MS,
            "max_poll_records": POLL_RECORDS,
        }
        return connected(KafkaConsumer, {**self._client, **own})

    def _read(self, brokers: Brokers) -> None:
        attempt = 0
        while not self._closing.is_set():
            try:
                self._look(brokers)
                self._commits.send(self._consumer, self._current_log)
                if self._stopping.is_set():
                    self._buffer.close()
                self._poll()
                attempt = 0
            except _GaveUpError:
                raise
            except (kafka.KafkaError, EyecatchError) as error:
                ours = error if isinstance(error, EyecatchError) else translate(error)
                if not isinstance(ours, Unavailable):
                    raise ours from error
                self._trouble(ours)
                self._metrics.retries.labels(BROKER).inc()
                self._closing.wait(WAIT(attempt))
                attempt += 1

    def _trouble(self, error: Unavailable) -> None:
        """Raises it when it has lasted too long."""
        if self._health.trouble(BROKER, str(error)) >= self._options.give_up_s:
            raise _GaveUpError(f"{error}; gave up after {self._options.give_up_s:g} s") from error

    def _look(self, brokers: Brokers) -> None:
        """Now and then: do the brokers answer, is the topic there, is it the same one; and how far behind we are."""
        now = time.monotonic()
        if now < self._next_check and not self._unplaced:
            return
        found = brokers.topic(self._options.topic)
        if found is None:
            raise Unavailable(
                f"the topic {self._options.topic} does not exist; create it with as many partitions as you need"
            )
        id = f"{found.id}.{self._options.epoch}" if self._options.epoch else found.id
        with self._lock:
            if id != self._topic_id:
                self._topic_id = id
                self._unplaced |= self._places.keys()
            # a topic made anew may have fewer partitions; the group takes the others away
            unplaced = sorted(p for p in self._unplaced if p.partition < found.partitions)
        for partition in unplaced:
            self._place(partition)
        for partition, (offset, _) in list(self._places.items()):
            if (high := self._high_water(partition)) is not None:
                self._metrics.lag.labels(str(partition.partition)).set(max(high - offset, 0))
        self._metrics.partitions.set(len(self._places))
        self._next_check = now + self._options.check_s
        if self._joined:
            self._health.well(BROKER)
        elif not self._places:
            self._trouble(Unavailable(f"the group {self._options.group} has not let us in yet"))

    def _high_water(self, partition: TopicPartition) -> int | None:
        try:
            high: int | None = self._consumer.highwater(partition)
        except kafka.IllegalStateError:  # given to somebody else this moment
            return None
        return high

    def _place(self, partition: TopicPartition) -> None:
        """Find where to read a partition from, and let it be read."""
        consumer, timeout_ms = self._consumer, self._client["request_timeout_ms"]
        held: tuple[int, Log | None] | None = self._places.get(partition)
        with translated():
            if held is None:
                committed = consumer.committed(partition, metadata=True, timeout_ms=timeout_ms)
                held = committed and (committed.offset, Log.parse(committed.metadata))
            first = consumer.beginning_offsets([partition], timeout_ms=timeout_ms)[partition]
        found = place(self._topic_id, held, first, partition in self._refused, self._refused.get(partition))
        with self._lock:
            if partition not in self._unplaced or partition not in consumer.assignment():
                return  # given to somebody else meanwhile
            consumer.seek(partition, found.offset)
            self._places[partition] = (found.offset, found.log)
            self._unplaced.discard(partition)
            self._refused.pop(partition, None)
            _each(consumer.pause if self._paused else consumer.resume, [partition])
        self._say(partition, found)

    def _say(self, partition: TopicPartition, found: Place) -> None:
        self._metrics.placed.labels(found.why).inc()
        self._metrics.missed.inc(found.missed)
        say = log.error if found.missed else log.warning if found.why in ("recreated", "cut-back") else log.info
        say("reading", partition=partition.partition, offset=found.offset, why=found.why, missed=found.missed)

    def _poll(self) -> None:
        self._regulate()
        try:
            polled = self._consumer.poll(POLL_MS if self._joined or self._stopping.is_set() else JOIN_MS)
        except kafka.NoOffsetForPartitionError:
            return  # a partition that was just given to us: _look places it
        except kafka.OffsetOutOfRangeError as error:
            return self._outside(dict.fromkeys(error.args[0]))
        except kafka.LogTruncationError as error:
            return self._outside({p: known and known.offset for p, known in error.divergent_offsets.items()})
        for partition, records in polled.items():
            self._put(partition, records)

    def _outside(self, refused: Mapping[TopicPartition, int | None]) -> None:
        with self._lock:
            self._refused |= refused
            self._unplaced |= refused.keys() & self._places.keys()

    def _put(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        with self._lock:
            held = self._places.get(partition)
            if held is None or partition in self._unplaced:
                return
            chunk = Chunk(partition, held[1], records)
            self._places[partition] = (chunk.next_offset, held[1])
            self._buffer.put(chunk)
        self._metrics.buffered.set(len(self._buffer))

    def _regulate(self) -> None:
        """Pause while the buffer is full or drained: polling goes on, so that the group keeps us and takes our commits."""
        full = self._buffer.full or self._stopping.is_set()
        with self._lock:
            readable = self._places.keys() - self._unplaced
            if full != self._paused:
                _each(self._consumer.pause if full else self._consumer.resume, readable)
            self._paused = full
        self._metrics.paused.set(full)

    @property
    def _joined(self) -> bool:
        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

    def _current_log(self, partition: TopicPartition) -> Log | None:
        held = self._places.get(partition)
        return held[1] if held else None

    def _leave(self, brokers: Brokers) -> None:
        timeout_ms = self._client["request_timeout_ms"]
        try:
            self._commits.finish(self._consumer, self._current_log, timeout_ms)
        except EyecatchError as error:
            log.warning("commit_failed", why=str(error))
        self._consumer.close(autocommit=False, timeout_ms=timeout_ms)
        brokers.close()

    def given(self, partitions: Iterable[TopicPartition]) -> None:
        """The group gave us these. Nothing is read of them before it is known from where."""
        with self._lock:
            self._unplaced |= set(partitions)
            _each(self._consumer.pause, partitions)

    def taken(self, partitions: Iterable[TopicPartition]) -> None:
        """The group gave these to others, who read again what we have not committed; profiles know what they absorbed."""
        gone = set(partitions)
        with self._lock:
            self._unplaced -= gone
            for partition in gone:
                self._places.pop(partition, None)
                self._refused.pop(partition, None)
            self._buffer.drop(gone)
        log.info("given_up", partitions=sorted(p.partition for p in gone))


class _GaveUpError(Unavailable):
    """A trouble that lasted too long: not tried again."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Called on kafka-python's own thread; must not wait."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._source.given(assigned)

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._source.taken(revoked)

    def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        self._source.taken(lost)


def _each(act: Callable[[TopicPartition], None], partitions: Iterable[TopicPartition]) -> None:
    for partition in partitions:
        try:
            act(partition)
        except KeyError:  # the group took it this moment
            continue
