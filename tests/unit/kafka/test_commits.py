"""Which offsets are committed. The consumer is a hand-written one that answers when told to."""

from collections.abc import Callable, Mapping
from typing import Any

from eyecatch.ingest.metrics import IngestMetrics
from eyecatch.kafka.buffer import Chunk
from eyecatch.kafka.commits import Commits
from eyecatch.kafka.offsets import Log
from kafka import TopicPartition
from kafka.errors import RebalanceInProgressError

from tests.unit.ingest.test_events import Row

LOG = Log("id")
ZERO, ONE = TopicPartition("t", 0), TopicPartition("t", 1)
Offsets = Mapping[TopicPartition, Any]


class Consumer:
    def __init__(self) -> None:
        self.calls: list[tuple[Offsets, Callable[[Offsets, object], None]]] = []
        self.committed: list[Offsets] = []

    def commit_async(self, offsets: Offsets, callback: Callable[[Offsets, object], None]) -> None:
        self.calls.append((offsets, callback))

    def commit(self, offsets: Offsets, timeout_ms: int) -> None:
        self.committed.append(offsets)


def chunk(partition: TopicPartition, offset: int, log: Log = LOG) -> Chunk:
    return Chunk(partition, log, [Row(b"", offset=offset)])


def test_the_latest_of_each_partition_with_its_log() -> None:
    commits, consumer = Commits(IngestMetrics()), Consumer()
    commits.add([chunk(ZERO, 3), chunk(ONE, 1), chunk(ZERO, 8)])
    commits.send(consumer, lambda p: LOG)
    ((offsets, _),) = consumer.calls
    assert {p: (o.offset, o.metadata) for p, o in offsets.items()} == {ZERO: (9, "id/0"), ONE: (2, "id/0")}
    commits.send(consumer, lambda p: LOG)
    assert len(consumer.calls) == 1, "nothing new"


def test_neither_what_others_own_now_nor_another_log() -> None:
    commits, consumer = Commits(IngestMetrics()), Consumer()
    commits.add([chunk(ZERO, 3), chunk(ONE, 1, Log("before"))])
    commits.send(consumer, {ONE: LOG}.get)
    assert consumer.calls == []


def test_a_failed_commit_is_covered_by_the_last_one() -> None:
    metrics = IngestMetrics()
    commits, consumer = Commits(metrics), Consumer()
    commits.add([chunk(ZERO, 3), chunk(ONE, 1)])
    commits.send(consumer, lambda p: LOG)
    offsets, answer = consumer.calls[0]
    commits.add([chunk(ZERO, 5)])
    answer(offsets, RebalanceInProgressError())
    commits.send(consumer, lambda p: LOG)
    assert len(consumer.calls) == 1, "not at once"
    commits.finish(consumer, lambda p: LOG, 1000)
    assert {p: o.offset for p, o in consumer.committed[0].items()} == {ZERO: 6, ONE: 2}
    assert metrics.registry.get_sample_value("eyecatch_ingest_commits_total", {"outcome": "failed"}) == 1
