"""Moves the committed offsets of a group back to what its store has."""

from collections.abc import Callable
from dataclasses import dataclass

from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from eyecatch.core.errors import NotFound
from eyecatch.kafka.client import Brokers, Options, connected, topic_name, translated
from eyecatch.kafka.offsets import Log


@dataclass(frozen=True)
class Rewound:
    """A partition whose committed offset was `before` and is `after`."""

    partition: int
    before: int
    after: int


class Rewind:
    """Blocks. Raises Unavailable, also while members of the group still run; NotFound without the topic."""

    def __init__(self, client: Options, topic: str, group: str, epoch: int) -> None:
        self._client, self._topic, self._group, self._epoch = client, topic, group, epoch

    def partitions(self) -> dict[TopicPartition, tuple[int, Log]]:
        """The committed offset of each partition that has one, and its log; not of a topic that was recreated since."""
        brokers = Brokers(self._client)
        try:
            topic = brokers.topic(self._topic)
        finally:
            brokers.close()
        if topic is None:
            raise NotFound("topic", self._topic)
        places = [TopicPartition(self._topic, number) for number in range(topic.partitions)]
        with self._consumer() as consumer, translated():
            committed = {place: consumer.committed(place, metadata=True) for place in places}
        id = topic_name(topic, self._epoch)
        # Some brokers do not keep the notes of commits.
        logs = {place: Log.parse(at.metadata) or Log(id) for place, at in committed.items() if at is not None}
        return {place: (committed[place].offset, log) for place, log in logs.items() if log.id == id}

    def to(self, mark: Callable[[Log, TopicPartition], int]) -> list[Rewound]:
        """Commit the mark of each partition whose mark is behind its committed offset, or the first offset that is left."""
        committed = self.partitions()
        with self._consumer() as consumer, translated():
            first = consumer.beginning_offsets(list(committed)) if committed else {}
            moves = {
                place: (before, max(first[place], mark(log, place)), log) for place, (before, log) in committed.items()
            }
            behind = {place: move for place, move in moves.items() if move[1] < move[0]}
            if behind:
                consumer.assign(list(behind))
                consumer.commit(
                    {place: OffsetAndMetadata(after, log.note(), -1) for place, (_, after, log) in behind.items()}
                )
        return [Rewound(place.partition, before, after) for place, (before, after, _) in sorted(behind.items())]

    def _consumer(self) -> "_Open":
        return _Open({**self._client, "group_id": self._group, "enable_auto_commit": False})


class _Open:
    """A consumer that closes at the end of the context, without joining its group."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def __enter__(self) -> KafkaConsumer:
        self._consumer = connected(KafkaConsumer, self._options)
        return self._consumer

    def __exit__(self, *error: object) -> None:
        self._consumer.close(autocommit=False)
