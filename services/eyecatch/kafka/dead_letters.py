"""The dead-letter topic: a record that cannot be absorbed goes there whole, with its reason; show and replay read it."""

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
    """The record as it was, with our headers behind its own."""
    source = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    again = Outgoing(record.topic, record.key, record.value, record.headers)
    return outgoing_dead_letter(again, poison, ((SOURCE, json.dumps(source)),))


def outgoing_dead_letter(record: Outgoing, poison: Poison, more: Sequence[tuple[str, str]] = ()) -> Outgoing:
    """The letter of a record that a replay is to send as it is here."""
    ours = ((REASON, poison.reason), (DETAIL, poison.detail), *more)
    headers = [*record.headers, *((name, text.encode(errors="backslashreplace")) for name, text in ours)]
    return Outgoing(topic_of(record.topic), record.key, record.value, headers)


@dataclass(frozen=True)
class DeadLetter:
    """`source` is topic/partition/offset of the original; `time` in UNIX seconds is when it came here."""

    partition: int
    offset: int
    time: float
    reason: str
    detail: str
    source: str
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers  # the original ones


def opened(record: Record) -> DeadLetter:
    """Also of records that others put there: their reason is empty, and they go back to where the topic's name says."""
    ours = {name: (value or b"").decode(errors="replace") for name, value in record.headers if name.startswith(OURS)}
    kept = [(name, value) for name, value in record.headers if not name.startswith(OURS)]
    topic, source = record.topic.removesuffix(".dlq"), ""
    try:
        where = json.loads(ours.get(SOURCE, ""))
        topic, source = where["topic"], f"{where['topic']}/{where['partition']}/{where['offset']}"
    except (ValueError, KeyError, TypeError):
        pass
    return DeadLetter(
        record.partition,
        record.offset,
        record.timestamp / 1000,
        ours.get(REASON, ""),
        ours.get(DETAIL, ""),
        source,
        topic,
        record.key,
        record.value,
        kept,
    )


class DeadLetters:
    """Reads what is in the dead-letter topic now. Blocking; raises Unavailable, NotReady, and NotFound without the topic."""

    def __init__(self, client: Options, topic: str, group: str) -> None:
        """Of what went to `topic`; `group` remembers how far was replayed."""
        self._client, self._topic, self._group = client, topic_of(topic), group

    def show(self, limit: int) -> Sequence[DeadLetter]:
        """The latest `limit`, oldest first."""
        found: list[DeadLetter] = []
        with self._reading(resume=False) as (_, batches):
            for batch in batches:
                found = sorted([*found, *batch], key=lambda letter: letter.time)[-limit:]
        return found

    async def replay(self, producer: Producer, limit: int) -> int:
        """Send at most `limit` letters, from the first one never replayed on, to where they came from; how many there were.

        Each batch is acknowledged there before it is remembered as replayed: cut short, some are sent twice, none is lost.
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
        own = {
            "group_id": self._group,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
        }
        consumer = connected(KafkaConsumer, {**self._client, **own})
        try:
            yield consumer, self._batches(consumer, resume)
        finally:
            consumer.close(autocommit=False, timeout_ms=self._client["request_timeout_ms"])

    def _batches(self, consumer: KafkaConsumer, resume: bool) -> Iterator[Sequence[DeadLetter]]:
        """Up to the end as it is now: what a replay brings back here is not replayed again by the same one."""
        with translated():
            numbers = consumer.partitions_for_topic(self._topic)
            if not numbers:
                raise NotFound("topic", self._topic)
            partitions = [TopicPartition(self._topic, number) for number in sorted(numbers)]
            consumer.assign(partitions)
            if not resume:
                consumer.seek_to_beginning(*partitions)
            ends = dict(consumer.end_offsets(partitions))
            seen: set[TopicPartition] = set()
            silent = 0
            while True:
                polled = consumer.poll(POLL_MS)
                for p in polled.keys() - seen:
                    # of the two answers to "how far" the one that comes with records is the surer one
                    ends[p] = max(ends[p], consumer.highwater(p))
                seen |= polled.keys()
                records = [r for p, rows in polled.items() for r in rows if r.offset < ends[p]]
                if records:
                    yield [opened(record) for record in records]
                elif all(consumer.position(p) >= ends[p] for p in partitions):
                    return
                silent = 0 if polled else silent + 1
                if silent * POLL_MS > self._client["request_timeout_ms"]:
                    raise Unavailable("the broker does not answer (no records, though there are some)")
