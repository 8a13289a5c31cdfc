"""Ingest as a user runs it: processes on a real broker and a real Redis, killed, drained, asked how they are."""

import asyncio
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from eyecatch.client import connect
from eyecatch.core.types import Action
from eyecatch.stores.redis import RedisStore
from eyecatch.v1 import catalog_pb2, covers_pb2, types_pb2

from tests.broker import Broker
from tests.contracts.builders import event
from tests.e2e.conftest import SAMPLE, reporting, run, run_json, serving
from tests.servers import RedisServer, free_port, until
from tests.unit.ingest.helpers import record

USERS = [f"u{n}" for n in range(30)]


@pytest.fixture
def store(redis_server: RedisServer) -> str:
    redis_server.client.flushall()
    return redis_server.url


def ingesting(
    kafka: Broker, topic: str, store: str, *flags: str
) -> AbstractContextManager[tuple[str, subprocess.Popen[str]]]:
    """An ingest process: (address of its health page, process)."""
    where = ("--kafka", kafka.address, "--events-topic", topic, "--group", topic, "--store", store)
    return reporting("ingest", *where, "--session-s", "1", "--check-s", "0.2", *flags)


def counted(store: str) -> int:
    """Events in all profiles."""

    async def ask() -> int:
        opened = await RedisStore.open(store)
        try:
            profiles = [await opened.profiles.profile(user) for user in USERS]
            return sum(p.event_count for p in profiles if p)
        finally:
            await opened.close()

    return asyncio.run(ask())


def health(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_killed_again_and_again_each_event_counts_once(kafka: Broker, store: str) -> None:
    """kill -9 falls anywhere: before, between and after absorbing and committing, in small batches so that there are many."""
    topic = kafka.create()
    rounds, each = 3, 300
    for n in range(rounds):
        kafka.produce(topic, record(*(event(f"{n}-{u}-{i}", u, time=1e9 + i) for i in range(each) for u in USERS)))
        before = counted(store)
        with ingesting(kafka, topic, store, "--batch-max", "100") as (_, process):
            until(lambda before=before: counted(store) > before, "some events")  # type: ignore[misc]
            process.kill()
            assert process.wait() == -signal.SIGKILL
    total = rounds * each * len(USERS)
    assert counted(store) < total, "it was killed in the middle"
    with ingesting(kafka, topic, store) as (_, process):
        until(lambda: sum(kafka.committed(topic, topic).values()) == total, "the end of the topic")
        assert counted(store) == total


def test_sigterm_drains_commits_and_leaves(kafka: Broker, store: str) -> None:
    topic = kafka.create()
    kafka.produce(topic, record(*(event(f"{u}-{i}", u, time=1e9 + i) for i in range(300) for u in USERS)))
    with ingesting(kafka, topic, store, "--batch-max", "200", "--drain-s", "10") as (address, process):
        assert health(address)[0] in (200, 503)
        until(lambda: counted(store) > 0, "some events")
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
        assert process.returncode == 0, log
        assert time.monotonic() - started < 12
    assert "drain_cut_short" not in log
    done = counted(store)
    assert sum(kafka.committed(topic, topic).values()) == done > 0
    assert not any(f"'{user}" in log or f"={user} " in log for user in USERS)


def test_a_broker_that_is_not_there_is_a_readable_error(store: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    flags = ("--kafka", address, "--store", store, "--give-up-s", "0.5", "--health-port", "0", "--kafka-timeout-s", "1")
    done = run("ingest", *flags, check=False)
    assert done.returncode == 1
    assert f"error: no broker listens ({address}: Connection refused); gave up after 0.5 s" in done.stderr
    assert "Traceback" not in done.stderr
    for command in (("dlq", "show"), ("dlq", "replay")):
        done = run(*command, "--kafka", address, check=False)
        assert (done.returncode, "no broker listens" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
    assert "allowed: host:port" in run("ingest", "--store", store, "--health-port", "0", check=False).stderr


def test_dead_letters_on_the_command_line(kafka: Broker, store: str) -> None:
    topic = kafka.create()
    kafka.produce(topic, [(b"mia", b"{"), *record(event("e1", "u0"))])
    where = ("--kafka", kafka.address, "--events-topic", topic)
    with ingesting(kafka, topic, store) as (address, _):
        until(lambda: sum(kafka.committed(topic, topic).values()) == 2, "both")
        assert health(address) == (200, "SERVING\n")
        page = health(address.replace("/health", "/metrics"))[1]
        assert 'eyecatch_ingest_poison_total{reason="not-json"} 1.0' in page
        (letter,) = json.loads(run("dlq", "show", *where, "--json").stdout)
        assert (letter["reason"], letter["value"], letter["topic"]) == ("not-json", "ew==", topic)
        assert "not-json" in run("dlq", "show", *where).stdout
        assert json.loads(run("dlq", "replay", *where, "--json").stdout) == {"replayed": 1}
        until(lambda: len(kafka.records(f"{topic}.dlq")) == 2, "the letter's return")
    assert counted(store) == 1


def test_a_like_in_the_topic_changes_the_next_recommendation(kafka: Broker, store: str, tmp_path: Path) -> None:
    """From the topic through ingest and Redis to the server's answer; then the user is forgotten and the topic read again."""
    topic = kafka.create()
    with (
        serving(
            tmp_path,
            "--store",
            store,
            "--kafka",
            kafka.address,
            "--events-topic",
            topic,
            "--exploration",
            "0",
        ) as (address, _),
        ingesting(kafka, topic, store),
        connect(address) as client,
    ):
        pictures = [types_pb2.Image(data=(SAMPLE / "covers" / f"guitar-{n}.webp").read_bytes()) for n in range(4)]
        item = types_pb2.Item(id="a", title="guitar", references=pictures)
        client.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[item]), timeout=60)

        def best() -> tuple[str, bool]:
            answer = client.covers.RecommendCovers(
                covers_pb2.RecommendCoversRequest(user_id="u0", item_ids=["a"]), timeout=10
            )
            return answer.items[0].covers[0].cover_id, answer.personalised

        unpersonalised, personalised = best()
        assert not personalised
        ranked = client.covers.RankCovers(covers_pb2.RankCoversRequest(user_id="u0", item_id="a"), timeout=10).covers
        other = ranked[1].cover_id
        now = int(time.time())
        likes = [event(f"l{n}", "u0", "a", now - 60 + n, action=Action.LIKE, cover_id=other) for n in range(8)]
        kafka.produce(topic, record(*likes))
        until(lambda: best() == (other, True), "a recommendation that follows the likes")
        assert run_json("events", "record", "u0", "a", "click", "--cover", other, "--server", address)["accepted"] == 1
        until(lambda: run_json("users", "show", "u0", "--server", address)["event_count"] == "9", "the click")
        assert run_json("users", "forget", "u0", "--server", address)["existed"]
        with ingesting(kafka, topic, store, "--group", "from-the-start"):
            until(lambda: sum(kafka.committed("from-the-start", topic).values()) == 9, "the whole topic")
        assert best() == (unpersonalised, False)
