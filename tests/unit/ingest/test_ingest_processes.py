"""Several processes of one ingest: they share the work, one page tells of all, and none is left behind."""

import asyncio
import os
import signal
from multiprocessing import active_children
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from eyecatch.core.errors import InvalidInput, Unavailable
from eyecatch.reader_config import IngestConfig
from eyecatch.stores.redis import RedisStore
from eyecatch.wiring.ingest import ingest_processes
from prometheus_client.parser import text_string_to_metric_families

from tests.broker import Broker
from tests.servers import RedisServer
from tests.unit.ingest.helpers import record, settings
from tests.unit.ingest.test_ingest import events
from tests.waiting import until

pytestmark = pytest.mark.server


async def request(port: int, path: str) -> tuple[int, str]:
    def ask() -> tuple[int, str]:
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def updates(port: int, name: str, **labels: str) -> dict[str, float]:
    """Values of a metric by process."""
    _, text = await request(port, "/metrics")
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]
    return {s.labels["process"]: s.value for s in samples if labels.items() <= s.labels.items()}


async def test_they_share_the_partitions_and_are_told_of_as_one(
    kafka: Broker, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.client.flushall()
    topic, users = kafka.create(partitions=4), [f"u{n}" for n in range(40)]
    config = settings(kafka, topic, tmp_path, store=redis_server.url, processes=2)
    async with ingest_processes(config) as (port, ended):

        async def shared() -> bool:
            return await updates(port, "eyecatch_ingest_partitions") == {"0": 2, "1": 2}

        async def absorbed() -> bool:
            result = await updates(port, "eyecatch_ingest_events_total", outcome="new")
            return sum(result.values()) == 200 and all(result.values())

        # two who join at one moment are sent away by this broker again and again
        await until(shared, "half of the partitions each", 60)
        kafka.produce(topic, record(*events(users, 0, 5)))
        await until(absorbed, "all of it, by both")
        await until(lambda: sum(kafka.committed(topic, topic, 4).values()) == 200, "its commits")
        assert await request(port, "/health") == (200, "SERVING\n")
        member = active_children()[0].pid or 0
        os.kill(member, signal.SIGSTOP)
        status, text = await request(port, "/health")
        os.kill(member, signal.SIGCONT)
        assert status == 503
        assert "process 0: no answer" in text or "process 1: no answer" in text
        assert not ended.done()
    assert not active_children()
    store = await RedisStore.open(redis_server.url)
    profiles = [await store.profiles.profile(user) for user in users]
    await store.close()
    assert [profile.event_count for profile in profiles if profile] == [5] * 40


async def test_one_that_is_killed_ends_the_others(kafka: Broker, redis_server: RedisServer, tmp_path: Path) -> None:
    config = settings(kafka, kafka.create(), tmp_path, store=redis_server.url, processes=2)
    async with ingest_processes(config) as (_, ended):
        active_children()[0].kill()
        with pytest.raises(Unavailable, match=r"process \d ended with -9"):
            await ended
    assert not active_children()


async def test_one_that_cannot_start_is_told(
    kafka: Broker, redis_server: RedisServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = settings(kafka, kafka.create(), tmp_path, store=f"{redis_server.url}/99", processes=2)
    with pytest.raises(Unavailable, match="process 0 ended with 1"):
        async with ingest_processes(config):
            raise AssertionError("there is no such database")
    assert "DB index is out of range" in capfd.readouterr().err
    assert not active_children()


def test_several_need_a_store_that_is_shared() -> None:
    with pytest.raises(InvalidInput, match="processes: got 2"):
        IngestConfig(processes=2)
