"""Brokers that are not there, go away, refuse, or say that an offset is outside; and what the RPC and the dead letters do then."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from eyecatch.client import is_unreachable
from eyecatch.config import Config
from eyecatch.core.behaviour.mean_encoder import MeanEncoder
from eyecatch.core.errors import NotFound, NotReady, Overloaded, Unavailable
from eyecatch.ingest.metrics import IngestMetrics
from eyecatch.kafka import client as brokers
from eyecatch.kafka import producer
from eyecatch.kafka.buffer import Buffer
from eyecatch.kafka.dead_letters import DeadLetters
from eyecatch.kafka.producer import Outgoing, Producer
from eyecatch.kafka.source import Source, SourceOptions
from eyecatch.kafka_config import KafkaConfig
from eyecatch.observe.health import Health
from eyecatch.reader_config import IngestConfig
from eyecatch.v1 import behavior_pb2, behavior_pb2_grpc
from eyecatch.wiring.ingest import ingesting
from eyecatch.wiring.serve import application
from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import MemberState, OffsetAndMetadata
from structlog.testing import capture_logs

from tests.broker import Broker, running_behind_a_proxy
from tests.contracts.builders import event
from tests.fakes import FakeGenerator
from tests.proxy import Proxy
from tests.servers import free_port
from tests.unit.api.conftest import event as sent_event
from tests.unit.ingest.helpers import absorbed, count, record, settings, until_absorbed, value
from tests.unit.ingest.test_events import Row
from tests.waiting import until

pytestmark = pytest.mark.server


@pytest.fixture
def proxied() -> Iterator[tuple[Broker, Proxy]]:
    with running_behind_a_proxy() as both:
        yield both
    gc.collect()


async def test_no_broker_at_the_start_is_said_and_given_up(tmp_path: Path) -> None:
    config = IngestConfig(
        kafka=f"127.0.0.1:{free_port()}", data_dir=str(tmp_path), health_port=0, kafka_timeout_s=1.0, give_up_s=1.5
    )
    started = time.monotonic()
    async with ingesting(config) as running:
        await until(lambda: "broker: no broker listens (127.0.0.1:" in running.health.text(), "a word about it")
        with pytest.raises(Unavailable, match=r"no broker listens .*gave up after 1.5 s"):
            await running.work
        assert 2 <= value(running, "retries_total", part="broker") <= 8, "with pauses"
    assert 1.5 <= time.monotonic() - started < 10


async def test_a_topic_that_comes_later(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.create()
    kafka.delete(topic)
    async with ingesting(settings(kafka, topic, tmp_path)) as running:
        await until(lambda: f"the topic {topic} does not exist" in running.health.text(), "a word about it")
        kafka.create(topic)
        kafka.produce(topic, record(event("e1")))
        await until(lambda: absorbed(running) == (1, 0), "the event")
        await until(lambda: running.health.serving, "health")


async def test_a_broker_that_goes_away_and_comes_back(proxied: tuple[Broker, Proxy], tmp_path: Path) -> None:
    broker, proxy = proxied
    topic = broker.create()
    broker.produce(topic, record(*(event(f"a{n}") for n in range(50))))
    config = settings(broker, topic, tmp_path, kafka_timeout_s=1.0, give_up_s=20.0)
    async with until_absorbed(config, ["mia"], 50) as running:
        await until(lambda: running.health.serving, "health")
        proxy.cut()
        await until(lambda: not running.health.serving, "a word about it")
        assert not running.work.done()
        proxy.mend()
        await asyncio.to_thread(broker.produce, topic, record(*(event(f"b{n}") for n in range(50))))
        await until(lambda: absorbed(running)[0] == 100, "the rest")
        await until(lambda: running.health.serving, "health")
        assert await count(running, "mia") == 100
    assert sum(broker.committed(topic, topic).values()) == 100


async def test_a_broker_that_stays_away_ends_it(proxied: tuple[Broker, Proxy], tmp_path: Path) -> None:
    broker, proxy = proxied
    topic = broker.create()
    broker.produce(topic, record(event("e1")))
    config = settings(broker, topic, tmp_path, kafka_timeout_s=1.0, give_up_s=1.5)
    async with until_absorbed(config, ["mia"], 1) as running:
        proxy.cut()
        with pytest.raises(Unavailable, match=r"gave up after 1\.5 s"):
            await running.work


class Log:
    """As much of a broker and its consumer as Source needs: one partition whose offsets are `first` to `end` - 1.

    The broker of the wheel answers an offset outside with nothing, where Kafka refuses it.
    """

    partition = TopicPartition("t", 0)

    def __init__(self, first: int, end: int, committed: int, divergent: int | None = None) -> None:
        self.first, self.end, self.held, self.divergent = first, end, committed, divergent
        self.next: int | None = None
        self.listener: Any = None

    def topic(self, name: str) -> brokers.Topic:
        return brokers.Topic("id", 1)

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.listener = listener

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Row]]:
        if self.next is None:
            self.listener.on_partitions_assigned({self.partition})
            self.next = self.held
            raise kafka_errors.NoOffsetForPartitionError({self.partition})
        if not self.first <= self.next <= self.end:
            if self.divergent is not None:
                raise kafka_errors.LogTruncationError({self.partition: OffsetAndMetadata(self.divergent, "", 1)})
            raise kafka_errors.OffsetOutOfRangeError({self.partition: self.next})
        rows = [Row(b"v", topic="t", offset=n) for n in range(self.next, self.end)]
        self.next = self.end
        return {self.partition: rows} if rows else {}

    def committed(self, partition: TopicPartition, metadata: bool, timeout_ms: int) -> OffsetAndMetadata:
        return OffsetAndMetadata(self.held, "id/0", -1)

    def beginning_offsets(self, partitions: list[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        return {self.partition: self.first}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.next = offset

    def assignment(self) -> set[TopicPartition]:
        return {self.partition}

    def pause(self, *partitions: TopicPartition) -> None: ...

    def resume(self, *partitions: TopicPartition) -> None: ...

    def highwater(self, partition: TopicPartition) -> int:
        return self.end

    def group_metadata(self) -> Any:
        return type("Member", (), {"state": MemberState.STABLE})

    def position(self, partition: TopicPartition, timeout_ms: int) -> int | None:
        return self.next

    def close(self, **options: object) -> None: ...


@pytest.mark.parametrize(
    ("log", "offsets", "name", "missed"),
    [
        (Log(5, 9, committed=2), range(5, 9), "t@id/0", 3),
        (Log(0, 4, committed=7), range(4), "t@id/1", 0),
        (Log(0, 6, committed=7, divergent=4), range(4, 6), "t@id/1", 0),
        (Log(0, 9, committed=7), range(7, 9), "t@id/0", 0),
    ],
)
async def test_offsets_outside_of_the_log(log: Log, offsets: range, name: str, missed: int) -> None:
    metrics, buffer = IngestMetrics(), Buffer(100)
    options = SourceOptions("t", "t.dlq", "g", check_s=0.1)

    class Reading(Source):
        def _connect(self) -> tuple[Any, Any]:
            return log, log

    source = Reading({"request_timeout_ms": 100}, options, buffer, Health(), metrics)
    source.start()
    (chunk,) = await buffer.take(100)
    await asyncio.to_thread(source.close)
    assert [r.offset for r in chunk.records] == list(offsets)
    assert chunk.log.name("t") == name
    assert metrics.registry.get_sample_value("eyecatch_ingest_missed_total") == missed


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (kafka_errors.TopicAuthorizationFailedError(), NotReady),
        (kafka_errors.SaslAuthenticationFailedError(), NotReady),
        (kafka_errors.MessageSizeTooLargeError(), NotReady),
        (kafka_errors.UnsupportedCodecError("snappy"), NotReady),
        (kafka_errors.IncompatibleBrokerVersion(), NotReady),
        (kafka_errors.NotLeaderForPartitionError(), Unavailable),
        (kafka_errors.KafkaTimeoutError(), Unavailable),
        (ConnectionRefusedError(), Unavailable),
    ],
)
def test_errors_of_the_client_become_ours(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected), brokers.translated():
        raise error


@pytest.fixture
async def server(kafka: Broker, tmp_path: Path) -> AsyncIterator[tuple[Config, behavior_pb2_grpc.BehaviorServiceStub]]:
    topic = kafka.create()
    config = Config(data_dir=str(tmp_path / "served"), port=0, kafka=kafka.address, events_topic=topic, drain_s=0.0)
    async with (
        application(config, FakeGenerator(), MeanEncoder()) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        yield config, behavior_pb2_grpc.BehaviorServiceStub(channel)


async def test_recorded_events_go_through_the_topic(
    kafka: Broker, server: tuple[Config, behavior_pb2_grpc.BehaviorServiceStub], tmp_path: Path
) -> None:
    config, stub = server
    sent = [sent_event("e1", "mia", "a"), sent_event("e2", "noah", "a")]
    answer = await stub.RecordEvents(behavior_pb2.RecordEventsRequest(events=sent))
    assert (answer.accepted, answer.ignored) == (2, 0)
    there = await asyncio.to_thread(kafka.records, config.events_topic)
    assert sorted((r.key, r.value) for r in there) == sorted((e.user_id.encode(), e.SerializeToString()) for e in sent)
    again = await stub.RecordEvents(behavior_pb2.RecordEventsRequest(events=sent))
    assert again.accepted == 2, "nobody has looked yet"
    async with ingesting(settings(kafka, config.events_topic, tmp_path / "ingested")) as running:
        await until(lambda: absorbed(running) == (2, 2), "the events")
        assert await count(running, "mia", "noah") == 2


async def test_recording_without_a_broker_is_unavailable_and_the_rest_is_served(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path), port=0, kafka=f"127.0.0.1:{free_port()}", kafka_timeout_s=1.0, drain_s=0.0)
    with capture_logs() as lines:
        async with (
            application(config, FakeGenerator(), MeanEncoder()) as app,
            grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
        ):
            await until(lambda: any(e["event"] == "kafka_unreachable" for e in lines), "a line at the start")
            await _record_fails_and_forget_works(behavior_pb2_grpc.BehaviorServiceStub(channel))
    (line,) = [line for line in lines if line["event"] == "kafka_unreachable"]
    assert "no broker listens (127.0.0.1:" in line["why"]


async def _record_fails_and_forget_works(stub: behavior_pb2_grpc.BehaviorServiceStub) -> None:
    request = behavior_pb2.RecordEventsRequest(events=[sent_event("e1", "mia", "a")])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RecordEvents(request)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not is_unreachable(caught.value), "our server answered"
    assert not (await stub.ForgetUser(behavior_pb2.ForgetUserRequest(user_id="mia"))).existed


async def test_calls_that_wait_for_a_broker_are_bounded_and_share_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "MAX_WAITING", 3)
    client = KafkaConfig(kafka=f"127.0.0.1:{free_port()}", kafka_timeout_s=1.0).kafka_client()
    sender = Producer(client)
    started = time.monotonic()
    calls = [sender.send([Outgoing("t", b"k", b"v")]) for _ in range(4)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(a) for a in answers] == [Unavailable, Unavailable, Unavailable, Overloaded]
    assert time.monotonic() - started < 2.5, "one attempt of a second for all"
    await sender.close()


def test_a_client_that_closes_in_the_middle_of_a_request_leaves_no_socket(kafka: Broker) -> None:
    consumer = brokers.connected(KafkaConsumer, KafkaConfig(kafka=kafka.address).kafka_client())
    consumer.topics()
    links = [connection.transport for connection in consumer._client._manager._conns.values()]
    sockets = [link._sock for link in links if link]
    for link in links:
        link._write_buffer.append(b"half a request")
    consumer.close()
    assert sockets
    assert {link.fileno() for link in sockets} == {-1}


async def test_sending_survives_a_connection_that_went_silent(proxied: tuple[Broker, Proxy]) -> None:
    broker, proxy = proxied
    topic = broker.create()
    sender = Producer(KafkaConfig(kafka=broker.address, kafka_timeout_s=1.0).kafka_client())
    await sender.send([Outgoing(topic, b"k", b"0")])
    proxy.half_open()
    for n in range(2):  # again, as the first failure changes what the client knows
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable):
                await sender.send([Outgoing(topic, b"k", b"lost %d" % n)])
    proxy.mend()
    async with asyncio.timeout(5):
        await sender.send([Outgoing(topic, b"k", b"1")])
    await sender.close()
    assert [r.value for r in await asyncio.to_thread(broker.records, topic)] == [b"0", b"1"]


async def test_dead_letters_are_shown_and_replayed_once(kafka: Broker, topic: str, tmp_path: Path) -> None:
    future = event("late", time=time.time() + 7200)
    ((key, value_),) = record(future)
    good = record(event("e1"))[0]
    kafka.produce(topic, [(b"mia", b"{", [("trace", b"1")]), (key, value_), (b"noah", good[1])])
    client = KafkaConfig(kafka=kafka.address, kafka_timeout_s=2.0).kafka_client()
    letters = DeadLetters(client, topic, f"replay-{topic}")
    with pytest.raises(NotFound):
        await asyncio.to_thread(letters.show, 5)
    async with ingesting(settings(kafka, topic, tmp_path)) as running:
        await until(lambda: value(running, "poison_total", reason="key-mismatch") == 1, "the letters")
        await until(lambda: value(running, "poison_total", reason="not-json") == 1, "the letters")
        shown = await asyncio.to_thread(letters.show, 5)
        assert sorted(x.reason for x in shown) == ["key-mismatch", "not-json", "time-in-future"]
        (first,) = [x for x in shown if x.reason == "not-json"]
        assert (first.key, first.value, first.headers, first.topic) == (b"mia", b"{", [("trace", b"1")], topic)
        assert first.source.startswith(f"{topic}/")
        assert [x.offset for x in await asyncio.to_thread(letters.show, 1)] == [max(x.offset for x in shown)]
        sender = Producer(client)
        assert await letters.replay(sender, 2) == 2
        assert await letters.replay(sender, 100) >= 1
        await until(
            lambda: (
                sum(value(running, "poison_total", reason=r) for r in ("key-mismatch", "not-json", "time-in-future"))
                >= 6
            ),
            "them again",
        )
        await sender.close()
    replayed = [(r.key, r.value, r.headers) for r in kafka.records(topic)]
    assert len(replayed) >= 6
    for one in {json.dumps([str(part) for part in r]) for r in replayed}:
        assert [json.dumps([str(part) for part in r]) for r in replayed].count(one) >= 2, (
            "as it was, without our headers"
        )
