"""Committing the offsets of absorbed records. Profiles recognise known events, so a commit only saves reading them again."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from eyecatch.kafka.buffer import Chunk
from eyecatch.kafka.client import translated
from eyecatch.kafka.metrics import ReaderMetrics
from eyecatch.kafka.offsets import Log

log = structlog.get_logger(__name__)

# After a failed commit. The next commit includes its offsets.
PAUSE_S = 1.0

CurrentLog = Callable[[TopicPartition], Log | None]
"""The log that a partition is read from, or None if another member has the partition."""


class Commits:
    """Call `add` on any thread, and the other methods on the consumer's thread."""

    def __init__(self, metrics: ReaderMetrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._done: dict[TopicPartition, tuple[int, Log]] = {}
        self._in_flight: dict[TopicPartition, Any] = {}
        self._not_before = 0.0

    def add(self, chunks: Iterable[Chunk]) -> None:
        with self._lock:
            for chunk in chunks:
                self._done[chunk.partition] = (chunk.next_offset, chunk.log)

    def send(self, consumer: KafkaConsumer, current: CurrentLog) -> None:
        """Commit without waiting."""
        if self._done and time.monotonic() >= self._not_before:
            offsets = self._committable(current)
            if offsets:
                self._in_flight = offsets
                consumer.commit_async(offsets, callback=self._answered)

    def finish(self, consumer: KafkaConsumer, current: CurrentLog, timeout_ms: int) -> None:
        """Commit and wait; includes commits without an answer so far. Raises Unavailable, NotReady."""
        self._put_back(self._in_flight)
        offsets = self._committable(current)
        if offsets:
            with translated():
                consumer.commit(offsets, timeout_ms=timeout_ms)

    def _committable(self, current: CurrentLog) -> dict[TopicPartition, Any]:
        """Offsets in logs that we still read. Others are left out, so that they do not reset commits of the next owner."""
        with self._lock:
            done, self._done = self._done, {}
        return {p: OffsetAndMetadata(at, log.note(), -1) for p, (at, log) in done.items() if current(p) == log}

    def _answered(self, offsets: dict[TopicPartition, Any], answer: Any) -> None:
        failed = isinstance(answer, Exception)
        self._metrics.commits.labels("failed" if failed else "done").inc()
        if offsets is self._in_flight:
            self._in_flight = {}
        if failed:
            log.warning("commit_failed", why=type(answer).__name__)
            self._not_before = time.monotonic() + PAUSE_S
            self._put_back(offsets)

    def _put_back(self, offsets: dict[TopicPartition, Any]) -> None:
        with self._lock:
            for partition, committed in offsets.items():
                log = Log.parse(committed.metadata)
                if log is not None:
                    self._done.setdefault(partition, (committed.offset, log))
