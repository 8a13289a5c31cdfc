"""The reading thread: a member of the consumer group that fills the buffer and commits the offsets of absorbed records.

kafka-python blocks and is not thread-safe, so one thread owns the consumer, and other code uses the buffer and `done`. Fetching and
decompressing the next records overlaps with absorbing the current ones.
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
from eyecatch.kafka.client import Brokers, Options, connected, topic_name, translate, translated
from eyecatch.kafka.commits import Commits
from eyecatch.kafka.metrics import ReaderMetrics
from eyecatch.kafka.offsets import Log, start
from eyecatch.kafka.records import Record
from eyecatch.observe.health import Health

log = structlog.get_logger(__name__)

BROKER = "broker"
WAIT = Backoff(0.1, 5.0)
# How long a poll waits for records; commits and pauses wait as long.
POLL_MS = 50
# While joining the group, because kafka-python restarts a join that a poll did not finish.
JOIN_MS = 2000
# Smaller than a batch, so that several partitions share a batch and the buffer does not exceed its limit by much.
POLL_RECORDS = 2000
FETCH_BYTES = 16 << 20
# Some brokers look for new records only at the start and the end of a fetch, which waits for 500 ms by default.
FETCH_WAIT_MS = 50


@dataclass(frozen=True)
class SourceOptions:
    """dead_letters, others: topics that are created if they do not exist. epoch: distinguishes recreated topics without topic ids.

    part: the name of this reading in /health.
    """

    topic: str
    dead_letters: str
    group: str
    epoch: int = 0
    session_s: float = 10.0
    check_s: float = 5.0
    give_up_s: float = 600.0
    others: Sequence[str] = ()
    part: str = BROKER


class Source:
    """`start`, then `buffer.take` and `done` in turn, then `stop`, `take` and `done` for the rest, then `close`."""

    def __init__(
        self, client: Options, options: SourceOptions, buffer: Buffer, health: Health, metrics: ReaderMetrics
    ) -> None:
        self._client, self._options, self._buffer = client, options, buffer
        self._health, self._metrics = health, metrics
        self._lock = threading.Lock()  # for all that the listener changes on kafka-python's thread
        self._pending: set[TopicPartition] = set()  # assigned partitions whose start is not known yet
        # Partitions whose offset is out of range -> the offset up to which the log is the one we read, if known.
        self._refused: dict[TopicPartition, int | None] = {}
        self._positions: dict[TopicPartition, tuple[int, Log]] = {}  # the next offset and its log
        self._commits = Commits(metrics)
        self._resumed: dict[TopicPartition, int] = {}
        self._stopping, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="eyecatch-ingest-reader", daemon=True)
        self._next_check = 0.0
        self._topic_id = ""
        self._paused = False
        self.error: EyecatchError | Exception | None = None

    def start(self) -> None:
        self._thread.start()

    async def consumed(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work`, which takes from the buffer, to its end; then raise the error that ended the reading, if any."""
        await work()
        if self.error is not None:
            raise self.error

    def resumed(self, partition: TopicPartition) -> int | None:
        """The committed offset from which we began to read an assigned partition, None if there was none of its log."""
        return self._resumed.get(partition)

    def done(self, chunks: Iterable[Chunk]) -> None:
        """The chunks are absorbed and acknowledged, so that their offsets may be committed."""
        self._commits.add(chunks)

    def stop(self) -> None:
        """Read no more; records in the buffer can still be taken and done."""
        self._stopping.set()

    def close(self) -> None:
        """Commit and leave the group. Blocks for a few seconds at most."""
        self._stopping.set()
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(3 * self._client["request_timeout_ms"] / 1000)

    def _run(self) -> None:
        try:
            clients = self._connect()
            if clients is None:
                return
            brokers, self._consumer = clients
            try:
                self._consumer.subscribe([self._options.topic], listener=_Listener(self))
                self._read(brokers)
            finally:
                self._leave(brokers)
        except Exception as error:  # noqa: BLE001 (the consumer loop: `consumed` raises it)
            self.error = error
        finally:
            self._buffer.close()

    def _connect(self) -> tuple[Brokers, KafkaConsumer] | None:
        """Retries until it succeeds, gives up, or is stopped; then it returns None."""
        attempt = 0
        while not self._stopping.is_set():
            try:
                brokers = Brokers(self._client)
                try:
                    for name in (self._options.dead_letters, *self._options.others):
                        brokers.ensure(name)
                    return brokers, self._group_consumer()
                except EyecatchError:
                    brokers.close()
                    raise
            except Unavailable as error:
                self._trouble(error)
                self._metrics.retries.labels(self._options.part).inc()
                self._stopping.wait(WAIT(attempt))
                attempt += 1
        return None

    def _group_consumer(self) -> KafkaConsumer:
        session_ms = round(self._options.session_s * 1000)
        group = {
            "group_id": self._options.group,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",  # offsets.py decides where to start
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
        return connected(KafkaConsumer, {**self._client, **group})

    def _read(self, brokers: Brokers) -> None:
        attempt = 0
        while not self._closing.is_set():
            try:
                self._check(brokers)
                self._commits.send(self._consumer, self._current_log)
                if self._stopping.is_set():
                    self._buffer.close()
                self._poll()
                attempt = 0
            except _GaveUpError:
                raise
            except (kafka.KafkaError, EyecatchError) as error:
                translated_error = error if isinstance(error, EyecatchError) else translate(error)
                if not isinstance(translated_error, Unavailable):
                    raise translated_error from error
                self._trouble(translated_error)
                self._metrics.retries.labels(self._options.part).inc()
                self._closing.wait(WAIT(attempt))
                attempt += 1

    def _trouble(self, error: Unavailable) -> None:
        """Report an error to /health; raise it if it lasts for `give_up_s`."""
        if self._health.trouble(self._options.part, str(error)) >= self._options.give_up_s:
            raise _GaveUpError(f"{error}; gave up after {self._options.give_up_s:g} s") from error

    def _check(self, brokers: Brokers) -> None:
        """Every `check_s`: do the brokers answer, does the topic exist, was it recreated, and how large is the lag."""
        now = time.monotonic()
        if now < self._next_check and not self._pending:
            return
        topic = brokers.topic(self._options.topic)
        if topic is None:
            raise Unavailable(
                f"the topic {self._options.topic} does not exist; create it with as many partitions as you need"
            )
        id = topic_name(topic, self._options.epoch)
        with self._lock:
            if id != self._topic_id:
                self._topic_id = id
                self._pending |= self._positions.keys()
            # a recreated topic may have fewer partitions; the group revokes the others
            pending = sorted(p for p in self._pending if p.partition < topic.partitions)
        for partition in pending:
            self._seek(partition)
        for partition, (offset, _) in list(self._positions.items()):
            if (high := self._high_water(partition)) is not None:
                # Markers of transactions and aborted records are behind the last record that is returned.
                place = max(offset, self._consumer.position(partition, timeout_ms=0) or 0)
                self._metrics.lag.labels(str(partition.partition)).set(max(high - place, 0))
        self._metrics.partitions.set(len(self._positions))
        self._next_check = now + self._options.check_s
        if self._joined:
            self._health.well(self._options.part)
        elif not self._positions:
            self._trouble(Unavailable(f"the group {self._options.group} has not let us in yet"))

    def _high_water(self, partition: TopicPartition) -> int | None:
        try:
            high: int | None = self._consumer.highwater(partition)
        except kafka.IllegalStateError:  # just revoked
            return None
        return high

    def _seek(self, partition: TopicPartition) -> None:
        """Find the start in a partition and let it be read."""
        consumer, timeout_ms = self._consumer, self._client["request_timeout_ms"]
        last: tuple[int, Log | None] | None = self._positions.get(partition)
        with translated():
            if last is None:
                committed = consumer.committed(partition, metadata=True, timeout_ms=timeout_ms)
                last = committed and (committed.offset, Log.parse(committed.metadata))
            first = consumer.beginning_offsets([partition], timeout_ms=timeout_ms)[partition]
        begin = start(self._topic_id, last, first, partition in self._refused, self._refused.get(partition))
        with self._lock:
            if partition not in self._pending or partition not in consumer.assignment():
                return  # revoked meanwhile
            consumer.seek(partition, begin.offset)
            if partition not in self._positions and begin.why == "resumed":
                self._resumed[partition] = begin.offset
            self._positions[partition] = (begin.offset, begin.log)
            self._pending.discard(partition)
            self._refused.pop(partition, None)
            _each(consumer.pause if self._paused else consumer.resume, [partition])
        self._metrics.starts.labels(begin.why).inc()
        self._metrics.missed.inc(begin.missed)
        write = log.error if begin.missed else log.warning if begin.why in ("recreated", "cut-back") else log.info
        write("reading", partition=partition.partition, offset=begin.offset, why=begin.why, missed=begin.missed)

    def _poll(self) -> None:
        self._pause_or_resume()
        try:
            polled = self._consumer.poll(POLL_MS if self._joined or self._stopping.is_set() else JOIN_MS)
        except kafka.NoOffsetForPartitionError:
            return  # a partition that was just assigned: _check finds its start
        except kafka.OffsetOutOfRangeError as error:
            return self._refuse(dict.fromkeys(error.args[0]))
        except kafka.LogTruncationError as error:
            return self._refuse({p: known and known.offset for p, known in error.divergent_offsets.items()})
        for partition, records in polled.items():
            self._put(partition, records)

    def _refuse(self, refused: Mapping[TopicPartition, int | None]) -> None:
        with self._lock:
            self._refused |= refused
            self._pending |= refused.keys() & self._positions.keys()

    def _put(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        with self._lock:
            position = self._positions.get(partition)
            if position is None or partition in self._pending:
                return
            chunk = Chunk(partition, position[1], records)
            self._positions[partition] = (chunk.next_offset, position[1])
            self._buffer.put(chunk)
        self._metrics.buffered.set(len(self._buffer))

    def _pause_or_resume(self) -> None:
        """Pause while the buffer is full or drained. Polling goes on, so that we stay in the group and can commit."""
        full = self._buffer.full or self._stopping.is_set()
        with self._lock:
            readable = self._positions.keys() - self._pending
            if full != self._paused:
                _each(self._consumer.pause if full else self._consumer.resume, readable)
            self._paused = full
        self._metrics.paused.set(full)

    @property
    def _joined(self) -> bool:
        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

    def _current_log(self, partition: TopicPartition) -> Log | None:
        position = self._positions.get(partition)
        return position[1] if position else None

    def _leave(self, brokers: Brokers) -> None:
        timeout_ms = self._client["request_timeout_ms"]
        try:
            self._commits.finish(self._consumer, self._current_log, timeout_ms)
        except EyecatchError as error:
            log.warning("commit_failed", why=str(error))
        self._consumer.close(autocommit=False, timeout_ms=timeout_ms)
        brokers.close()

    def on_assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """The group assigned these partitions to us. They are paused until their start is known."""
        with self._lock:
            self._pending |= set(partitions)
            _each(self._consumer.pause, partitions)

    def on_revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """The group gave these partitions to other members, which read uncommitted records again."""
        revoked = set(partitions)
        with self._lock:
            self._pending -= revoked
            for partition in revoked:
                self._positions.pop(partition, None)
                self._refused.pop(partition, None)
            self._buffer.drop(revoked)
        log.info("given_up", partitions=sorted(p.partition for p in revoked))


class _GaveUpError(Unavailable):
    """An error that lasted for `give_up_s`; it is not retried."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python calls it on its own thread; it must not block."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._source.on_assigned(assigned)

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._source.on_revoked(revoked)

    def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        self._source.on_revoked(lost)


def _each(act: Callable[[TopicPartition], None], partitions: Iterable[TopicPartition]) -> None:
    for partition in partitions:
        try:
            act(partition)
        except KeyError:  # just revoked
            continue
