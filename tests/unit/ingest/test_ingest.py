"""Ingest on a real broker: once each, whatever happens to processes, topics, partitions and clocks."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import confluent_kafka
import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import RECENT_EVENTS, Event
from eyecatch.reader_config import IngestConfig
from eyecatch.wiring.ingest import Ingest, ingesting
from kafka import KafkaProducer

from tests.broker import Broker
from tests.contracts.builders import event
from tests.servers import RedisServer
from tests.unit.ingest.helpers import absorbed, count, record, settings, until_absorbed, value
from tests.unit.ingest.test_events import POISON, Row
from tests.waiting import until


def events(users: Sequence[str], first: int, last: int) -> list[Event]:
    return [event(f"{user}-{n}", user, time=1e9 + n) for n in range(first, last) for user in users]


async def ids(running: Ingest, user: str) -> list[str]:
    """Of the latest events, newest first."""
    profile = await running.profiles.profile(user)
    return [e.id for e in profile.events] if profile else []


async def test_each_event_once_and_commits_after_it(kafka: Broker, topic: str, tmp_path: Path) -> None:
    users = [f"u{n}" for n in range(8)]
    kafka.produce(topic, record(*events(users, 0, 10)))
    async with until_absorbed(settings(kafka, topic, tmp_path), users, 80) as running:
        kafka.produce(topic, record(*events(users, 10, 12), *events(users, 0, 2)))
        await until(lambda: absorbed(running) == (96, 16), "the rest")
        assert await count(running, *users) == 96
    assert sum(kafka.committed(topic, topic).values()) == 112
    async with until_absorbed(settings(kafka, topic, tmp_path), users, 96) as running:
        kafka.produce(topic, record(event("last", "u0")))
        await until(lambda: absorbed(running) == (1, 0), "the one that was new after a restart")


async def test_nothing_lags_behind_the_marker_of_a_transaction(kafka: Broker, topic: str, tmp_path: Path) -> None:
    options = {"bootstrap.servers": kafka.address, "transactional.id": topic, "compression.type": "snappy"}
    producer = confluent_kafka.Producer(options)
    producer.init_transactions(10)
    producer.begin_transaction()
    for key, message in record(*events(["mia"], 0, 5)):
        producer.produce(topic, message, key, partition=0)
    producer.commit_transaction(10)
    async with until_absorbed(settings(kafka, topic, tmp_path), ["mia"], 5) as running:
        lag = partial(running.metrics.registry.get_sample_value, "eyecatch_ingest_lag_records", {"partition": "0"})
        await until(lambda: lag() == 0, "no lag")


async def test_a_broker_of_ip_version_6_is_read(tmp_path: Path) -> None:
    kafka = Broker(host="[::1]")
    try:
        topic = kafka.create()
        kafka.produce(topic, record(*events(["mia"], 0, 3)))
        async with until_absorbed(settings(kafka, topic, tmp_path, health_host="::1"), ["mia"], 3) as running:
            await until(lambda: absorbed(running) == (3, 0), "the metrics, which follow the profiles")
    finally:
        kafka.stop()


async def test_a_process_that_dies_between_absorbing_and_committing(
    kafka: Broker, topic: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Positions inside the profiles: Redis knows only the latest fifty ids of a user, here are eighty."""
    redis_server.client.flushall()
    kafka.produce(topic, record(*events(["mia"], 0, 80)))
    config = settings(kafka, topic, tmp_path, store=redis_server.url)
    async with ingesting(config) as first:
        first.source._commits.add = lambda chunks: None  # type: ignore[method-assign]
        await until(lambda: absorbed(first)[0] == 80, "all of it")
    assert kafka.committed(topic, topic) == {}
    async with ingesting(config) as second:
        await until(lambda: absorbed(second) == (0, 80), "all of it again")
        assert await count(second, "mia") == 80
    assert sum(kafka.committed(topic, topic).values()) == 80


async def test_two_processes_share_the_partitions_and_take_over(
    kafka: Broker, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.client.flushall()
    topic = kafka.create(partitions=4)
    users = [f"u{n}" for n in range(40)]
    config = settings(kafka, topic, tmp_path, store=redis_server.url, batch_max=10)
    kafka.produce(topic, record(*events(users, 0, 5)))
    async with ingesting(config) as first:
        await until(lambda: absorbed(first)[0] > 0, "a beginning")
        async with ingesting(config) as second:
            await until(lambda: value(first, "partitions") == value(second, "partitions") == 2, "half of them each")
            kafka.produce(topic, record(*events(users, 5, 10)))
            await until(lambda: absorbed(first)[0] + absorbed(second)[0] == 400, "all of it")
            assert absorbed(second)[0] > 0
        kafka.produce(topic, record(*events(users, 10, 12)))
        await until(lambda: value(first, "partitions") == 4, "a take-over")
        await until(lambda: absorbed(first)[0] + absorbed(second)[0] == 480, "the rest")
        assert await count(first, *users) == 480
        await until(
            lambda: sum(kafka.committed(topic, topic, 4).values()) == 480, "commits, tried again after a rebalance"
        )


async def test_late_early_and_out_of_order(kafka: Broker, topic: str, tmp_path: Path) -> None:
    """By the user's own time, whatever the order of arrival; what is older than the window still counts."""
    late = events(["mia"], 0, RECENT_EVENTS)
    shuffled = [late[(7 * n) % RECENT_EVENTS] for n in range(RECENT_EVENTS)]
    kafka.produce(topic, record(*shuffled, event("old", time=5.0)))
    async with until_absorbed(settings(kafka, topic, tmp_path), ["mia"], RECENT_EVENTS + 1) as running:
        assert await ids(running, "mia") == [e.id for e in reversed(late)]


async def test_ids_are_known_again_in_other_partitions(kafka: Broker, tmp_path: Path) -> None:
    """The number of partitions was raised: keys move, producers repeat, and both logs are read in any order."""
    topic = kafka.create(partitions=3)
    before, after = events(["mia"], 0, 6), events(["mia"], 4, 9)
    kafka.produce(topic, record(*before), partition=0)
    async with until_absorbed(settings(kafka, topic, tmp_path), ["mia"], 6) as running:
        kafka.produce(topic, record(*after), partition=2)
        kafka.produce(topic, record(*before, event("mia-9", time=1e9 + 9)), partition=1)
        await until(lambda: sum(absorbed(running)) == 18, "all of it")
        assert absorbed(running) == (10, 8)
        assert await ids(running, "mia") == [f"mia-{n}" for n in reversed(range(10))]


async def test_a_topic_made_anew_is_another_log(kafka: Broker, redis_server: RedisServer, tmp_path: Path) -> None:
    """Its offsets go back, and with more partitions than before. Nothing of it looks like a replay."""
    redis_server.client.flushall()
    topic = kafka.create(partitions=1)
    config = settings(kafka, topic, tmp_path, store=redis_server.url)
    kafka.produce(topic, record(*events(["mia"], 0, 30)))
    async with until_absorbed(config, ["mia"], 30) as running:
        kafka.delete(topic)
        kafka.create(topic, partitions=2)
        kafka.produce(topic, record(*events(["mia"], 30, 50)), partition=0)
        kafka.produce(topic, record(*events(["mia"], 50, 60)), partition=1)
        await until(lambda: absorbed(running)[0] == 60, "the new topic")
    kafka.delete(topic)
    kafka.create(topic, partitions=1)
    kafka.produce(topic, record(*events(["mia"], 60, 70)))
    async with ingesting(config) as running:
        await until(lambda: absorbed(running) == (10, 0), "the newest topic")
        assert await count(running, "mia") == 70


async def test_what_is_forgotten_stays_forgotten_when_the_whole_topic_is_read_again(
    kafka: Broker, topic: str, tmp_path: Path
) -> None:
    kafka.produce(topic, record(*events(["mia", "noah"], 0, 10)))
    async with until_absorbed(settings(kafka, topic, tmp_path), ["mia", "noah"], 20) as running:
        assert await running.profiles.forget("mia")
    async with ingesting(settings(kafka, topic, tmp_path, group="from-the-start")) as running:
        await until(lambda: sum(absorbed(running)) == 20, "the whole topic")
        assert absorbed(running) == (0, 20)
        assert await running.profiles.profile("mia") is None
        assert await count(running, "noah") == 10


async def test_reading_pauses_while_the_store_is_slow(
    kafka: Broker, topic: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.client.flushall()
    users = [f"u{n}" for n in range(20)]
    kafka.produce(topic, record(*events(users, 0, 150)))
    limit, batch = 400, 100
    config = settings(kafka, topic, tmp_path, store=redis_server.url, buffer_max=limit, batch_max=batch)
    try:
        async with ingesting(config) as running:
            redis_server.client.execute_command("CLIENT PAUSE", 60_000, "WRITE")
            positions = running.source._positions.values()
            # all of it at one moment: before the store has its batch, a full buffer is emptied and filled once more
            await until(
                lambda: (
                    value(running, "paused") == 1
                    and sum(at for at, _ in list(positions)) > len(running.buffer) >= limit
                ),
                "a pause, and a batch that waits for the store",
            )
            held = len(running.buffer)
            assert held <= limit + 2 * 2000, "what one poll brings may come on top"
            # later the group still has us: more than the time after which it drops a silent member
            await asyncio.sleep(1.5 * config.session_s)
            assert (len(running.buffer), value(running, "partitions")) == (held, 2), (
                "polling goes on and brings nothing"
            )
            redis_server.client.execute_command("CLIENT UNPAUSE")
            await until(lambda: absorbed(running)[0] == 3000, "all of it")
            await until(lambda: value(running, "paused") == 0, "the end of the pause")
            assert await count(running, *users) == 3000
    finally:
        redis_server.client.execute_command("CLIENT UNPAUSE")


async def test_a_full_store_holds_everything_up_and_loses_nothing(
    kafka: Broker, topic: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.client.flushall()
    kafka.produce(topic, record(*events(["mia"], 0, 5)))
    try:
        async with ingesting(settings(kafka, topic, tmp_path, store=redis_server.url)) as running:
            redis_server.client.config_set("maxmemory", 1)
            await until(lambda: "store: Redis has no memory left" in running.health.text(), "a word about it")
            assert kafka.committed(topic, topic) == {}
            redis_server.client.config_set("maxmemory", 0)
            await until(lambda: absorbed(running)[0] == 5, "all of it")
            await until(lambda: running.health.serving, "the end of its troubles")
    finally:
        redis_server.client.config_set("maxmemory", 0)


async def test_draining_absorbs_what_was_read(
    kafka: Broker, topic: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    """The store takes nothing until the drain has begun, so what was read by then is still there to drain."""
    redis_server.client.flushall()
    users = [f"u{n}" for n in range(20)]
    kafka.produce(topic, record(*events(users, 0, 100)))
    config = settings(kafka, topic, tmp_path, store=redis_server.url, batch_max=50)
    try:
        async with ingesting(config) as running:
            redis_server.client.execute_command("CLIENT PAUSE", 60_000, "WRITE")
            await until(lambda: len(running.buffer) > 0, "something to drain")

            async def let_go() -> None:
                await until(running.source._stopping.is_set, "the beginning of the drain")
                redis_server.client.execute_command("CLIENT UNPAUSE")

            letting_go = asyncio.create_task(let_go())
        await letting_go
    finally:
        redis_server.client.execute_command("CLIENT UNPAUSE")
    assert len(running.buffer) == 0
    assert running.work.done()
    assert sum(kafka.committed(topic, topic).values()) == absorbed(running)[0] > 0


async def test_a_drain_longer_than_the_group_waits_for_a_poll_is_committed(
    kafka: Broker, topic: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.client.flushall()
    kafka.produce(topic, record(*events(["mia"], 0, 5)))
    config = settings(kafka, topic, tmp_path, store=redis_server.url, drain_s=20.0, give_up_s=20.0)
    async with ingesting(config) as running:
        redis_server.client.execute_command("CLIENT PAUSE", 4000, "WRITE")
        await until(lambda: value(running, "partitions") == 2, "partitions")
    assert sum(kafka.committed(topic, topic).values()) == absorbed(running)[0] == 5


async def test_a_drain_that_takes_too_long_is_cut_short(
    kafka: Broker, topic: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.client.flushall()
    kafka.produce(topic, record(*events(["mia"], 0, 5)))
    config = settings(kafka, topic, tmp_path, store=redis_server.url, drain_s=0.2)
    try:
        async with ingesting(config) as running:
            redis_server.client.execute_command("CLIENT PAUSE", 60_000, "WRITE")
            await until(lambda: value(running, "partitions") == 2, "partitions")
    finally:
        redis_server.client.execute_command("CLIENT UNPAUSE")
    assert running.work.cancelled()
    assert kafka.committed(topic, topic) == {}
    async with until_absorbed(config, ["mia"], 5):
        pass


async def test_every_poisoned_record_is_kept_whole(kafka: Broker, topic: str, tmp_path: Path) -> None:
    from eyecatch.ingest.events import Reason
    from eyecatch.kafka.records import MAX_BYTES, Unreadable

    reasons = [*Unreadable, *Reason]
    bad: list[tuple[Reason | Unreadable, Row]] = [(reason, row) for reason in reasons for row in POISON[reason]]
    bad.append((Unreadable.TOO_LARGE, Row(b"y" * 900_000)))
    sent = [(row.key, row.value, [*row.headers, ("trace", b"\x00\xff")]) for _, row in bad]
    kafka.produce(topic, sent, partition=0)
    kafka.produce(topic, record(event("good")))
    async with until_absorbed(settings(kafka, topic, tmp_path), ["mia"], 1):
        await until(lambda: asyncio.to_thread(lambda: len(kafka.records(f"{topic}.dlq")) == len(bad)), "all letters")
    letters = sorted(kafka.records(f"{topic}.dlq"), key=lambda r: r.offset)
    assert len(bad) > len(reasons) - 1 > 0
    assert MAX_BYTES < 900_000
    for (reason, row), letter, (key, sent_value, headers) in zip(bad, letters, sent, strict=True):
        assert (letter.key, letter.value or None) == (key, sent_value or None), row
        assert letter.headers[: len(headers)] == headers
        ours = dict(letter.headers[len(headers) :])
        assert set(ours) == {"eyecatch-reason", "eyecatch-detail", "eyecatch-source"}
        assert ours["eyecatch-reason"].decode() == reason
    sources = [dict(x.headers)["eyecatch-source"].decode() for x in letters]
    assert sources == [f'{{"topic": "{topic}", "partition": 0, "offset": {n}}}' for n in range(len(bad))]
    assert sum(kafka.committed(topic, topic).values()) == len(bad) + 1


def test_brokers_are_needed() -> None:
    with pytest.raises(InvalidInput, match="kafka"):
        IngestConfig(kafka=" , ").kafka_client()


class Latin(str):
    """A header's name as producers with another encoding write it."""

    def encode(self, *how: str) -> bytes:
        return b"".join(bytes([ord(letter)]) for letter in self)


@pytest.mark.parametrize("compression", [None, "gzip"])
async def test_header_names_that_are_no_utf8(
    kafka: Broker, topic: str, tmp_path: Path, compression: str | None
) -> None:
    """They say nothing of the event; a dead letter has "?" for each byte that is not ASCII."""
    producer = KafkaProducer(bootstrap_servers=kafka.address, acks="all", compression_type=compression)
    headers = [("good", b"1"), (Latin("spur-\xe4\xff"), b"\xff")]
    for key, body in [*record(event("e1", "mia")), (b"mia", b'{"broken": 1}'), *record(event("e2", "mia"))]:
        producer.send(topic, key=key, value=body, headers=headers)
    producer.close()
    async with ingesting(settings(kafka, topic, tmp_path)) as running:
        await until(lambda: absorbed(running) == (2, 0), "the events before and behind")
    (letter,) = kafka.records(f"{topic}.dlq")
    assert letter.headers[:2] == [("good", b"1"), ("spur-??", b"\xff")]
