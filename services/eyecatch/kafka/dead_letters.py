"""The dead-letter topic: takes records that cannot be absorbed, with the reason; its records can be listed and replayed."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from eyecatch.core.errors import NotFound, Unavailable
from eyecatch.kafka.client import Options, connected, translated
from eyecatch.kafka.producer import Outgoing, Producer
from eyecatch.kafka.records import Headers, Poison, Record

OURS = "eyecatch-"
REASON, DETAIL, SOURCE = f"{OURS}reason", f"{OURS}detail", f"{OURS}source"
POLL_MS = 200


def topic_of(topic: str) -> str:
    """The dead-letter topic of a topic."""
    return f"{topic}.dlq"


def dead_letter(record: Record, poison: Poison) -> Outgoing:
    """The dead letter of a record that was read: the unchanged record with our headers after its own."""
    source = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    unchanged = Outgoing(record.topic, record.key, record.value, record.headers)
    return outgoing_dead_letter(unchanged, poison, ((SOURCE, json.dumps(source)),))


def outgoing_dead_letter(record: Outgoing, poison: Poison, more: Sequence[tuple[str, str]] = ()) -> Outgoing:
    """The dead letter of a record that was not sent; a replay sends the record."""
    ours = ((REASON, poison.reason), (DETAIL, poison.detail), *more)
    headers = [*record.headers, *((name, text.encode(errors="backslashreplace")) for name, text in ours)]
    return Outgoing(topic_of(record.topic), record.key, record.value, headers)


@dataclass(frozen=True)
class DeadLetter:
    """source: topic/partition/offset of the original record. time: of its arrival in the dead-letter topic, in UNIX seconds."""

    partition: int
    offset: int
    time: float
    reason: str
    detail: str
    source: str
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


def parse(record: Record) -> DeadLetter:
    """The dead letter in a record. For records of other programs the reason is empty and the topic comes from the record's topic."""
    ours = {name: (value or b"").decode(errors="replace") for name, value in record.headers if name.startswith(OURS)}
    headers = [(name, value) for name, value in record.headers if not name.startswith(OURS)]
    topic, source = record.topic.removesuffix(".dlq"), ""
    try:
        fields = json.loads(ours.get(SOURCE, ""))
        topic, source = fields["topic"], f"{fields['topic']}/{fields['partition']}/{fields['offset']}"
    except (ValueError, KeyError, TypeError):
        pass
    reason, detail, time = ours.get(REASON, ""), ours.get(DETAIL, ""), record.timestamp / 1000
    position = (record.partition, record.offset, time)
    return DeadLetter(*position, reason, detail, source, topic, record.key, record.value, headers)


class DeadLetters:
    """Reads the current records of a dead-letter topic. Blocks; raises Unavailable, NotReady, and NotFound if there is no topic."""

    def __init__(self, client: Options, topic: str, group: str) -> None:
        """The dead letters of `topic`. The consumer group `group` holds the position of the last replay."""
        self._client, self._topic, self._group = client, topic_of(topic), group

    def show(self, limit: int) -> Sequence[DeadLetter]:
        """The latest `limit`, oldest first."""
        letters: list[DeadLetter] = []
        with self._reading(resume=False) as (_, batches):
            for batch in batches:
                letters = sorted([*letters, *batch], key=lambda letter: letter.time)[-limit:]
        return letters

    async def replay(self, producer: Producer, limit: int) -> int:
        """Send at most `limit` letters that were not replayed yet back to their topics; returns how many.

        Each batch is acknowledged before its position is committed: after an interruption some are sent twice, and none is lost.
        """
        sent = 0
        with self._reading(resume=True) as (consumer, batches):
            for batch in batches:
                batch = batch[: limit - sent]
                if not batch:
                    break
                await producer.send([Outgoing(x.topic, x.key, x.value, x.headers) for x in batch])
                sent += len(batch)
                done = {
                    TopicPartition(self._topic, x.partition): OffsetAndMetadata(x.offset + 1, "", -1) for x in batch
                }
                with translated():
                    consumer.commit(done, timeout_ms=self._client["request_timeout_ms"])
        return sent

    @contextmanager
    def _reading(self, resume: bool) -> Iterator[tuple[KafkaConsumer, Iterator[Sequence[DeadLetter]]]]:
        group = {"group_id": self._group, "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        consumer = connected(KafkaConsumer, {**self._client, **group})
        try:
            yield consumer, self._batches(consumer, resume)
        finally:
            consumer.close(autocommit=False, timeout_ms=self._client["request_timeout_ms"])

    def _batches(self, consumer: KafkaConsumer, resume: bool) -> Iterator[Sequence[DeadLetter]]:
        """Batches up to the current end, so that letters that come back during a replay are not replayed again."""
        with translated():
            numbers = consumer.partitions_for_topic(self._topic)
            if not numbers:
                raise NotFound("topic", self._topic)
            partitions = [TopicPartition(self._topic, number) for number in sorted(numbers)]
            consumer.assign(partitions)
            if not resume:
                consumer.seek_to_beginning(*partitions)
            ends = dict(consumer.end_offsets(partitions))
            polled_before: set[TopicPartition] = set()
            silent = 0
            while True:
                polled = consumer.poll(POLL_MS)
                for p in polled.keys() - polled_before:
                    # the end that comes with records is more reliable than that of end_offsets
                    ends[p] = max(ends[p], consumer.highwater(p))
                polled_before |= polled.keys()
                records = [r for p, rows in polled.items() for r in rows if r.offset < ends[p]]
                if records:
                    yield [parse(record) for record in records]
                elif all(consumer.position(p) >= ends[p] for p in partitions):
                    return
                silent = 0 if polled else silent + 1
                if silent * POLL_MS > self._client["request_timeout_ms"]:
                    raise Unavailable("the broker does not answer (there are records, but it sends none)")
