"""The process that makes covers: poison, retries, dead letters, several jobs at once, what is away, draining."""

import asyncio
import json
import urllib.error
import urllib.request
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest
from eyecatch.core.backoff import Backoff
from eyecatch.core.errors import InvalidInput, Unavailable
from eyecatch.core.types import Item, Job, JobState
from eyecatch.generate.requests import to_record
from eyecatch.kafka.dead_letters import DeadLetters
from eyecatch.kafka.producer import Producer
from eyecatch.observe.line import Line
from eyecatch.reader_config import GenerateConfig
from eyecatch.v1 import generation_pb2
from eyecatch.wiring.generate import generating

from tests.broker import Broker, running_behind_a_proxy
from tests.fakes import FakeGenerator
from tests.servers import running as redis_running
from tests.unit.generate.conftest import over, value, working
from tests.waiting import until

pytestmark = pytest.mark.server


def send(kafka: Broker, config: GenerateConfig, *jobs: Job) -> None:
    records = [to_record(job, config.requests_topic) for job in jobs]
    kafka.produce(config.requests_topic, [(r.key, r.value) for r in records])


async def test_requests_of_others_in_json(kafka: Broker, worker_config: GenerateConfig) -> None:
    request = {"itemId": "a", "idempotencyKey": "mine", "count": 2, "strength": 0.5, "unknownField": 1}
    async with working(worker_config) as (running, generator):
        await running.stores.catalog.upsert_items([Item("a", "A")])
        kafka.produce(worker_config.requests_topic, [(b"a", json.dumps(request).encode())] * 2)
        await until(lambda: value(running, "jobs_total", outcome="done") == 1, "the covers")
        await until(lambda: value(running, "requests_total", outcome="known") == 1, "the other record")
        assert [brief.drawing.strength for brief in generator.briefs] == [0.5, 0.5]
        pool = (await running.stores.catalog.pools(["a"]))["a"]
        assert len(pool) == 2
        (updates,) = kafka.records(worker_config.generated_topic)
        message = generation_pb2.CoversGenerated.FromString(updates.value or b"")
        assert (updates.key, set(message.cover_ids)) == (b"a", {c.id for c in pool})


async def test_poison_and_jobs_given_up_are_letters_that_can_be_replayed(
    kafka: Broker, worker_config: GenerateConfig
) -> None:
    topic = worker_config.requests_topic
    async with working(worker_config) as (running, _):
        kafka.produce(topic, [(b"a", b"{"), (b"b", generation_pb2.CoverRequest(item_id="a").SerializeToString())])
        send(kafka, worker_config, Job("early", "k", "a", count=2, seed=5))
        status = (await over(running, "early"))["early"]
        assert status.state is JobState.FAILED
        await until(lambda: len(kafka.records(f"{topic}.dlq")) == 3, "three letters")
        client = worker_config.kafka_client()
        letters = DeadLetters(client, topic, "replay")
        result = await asyncio.to_thread(letters.show, 10)
        assert {letter.reason for letter in result} == {"not-json", "key-mismatch", "job-failed"}
        await running.stores.catalog.upsert_items([Item("a", "A")])
        producer = Producer(client)
        assert await letters.replay(producer, 10) == 3
        await producer.close()

        async def done() -> bool:
            now = await running.queue.status("early")
            return now is not None and now.state is JobState.DONE

        await until(done, "the job's second life")
        again = await running.queue.status("early")
        assert again is not None
        assert len(again.cover_ids) == 2
        await until(lambda: len(kafka.records(f"{topic}.dlq")) == 5, "the others' return")


async def test_a_generator_in_trouble_is_tried_again_and_then_given_up(
    kafka: Broker, worker_config: GenerateConfig
) -> None:
    async with working(worker_config) as (running, generator):
        await running.stores.catalog.upsert_items([Item("a", "A"), Item("b", "B")])
        running.worker._backoff = Backoff(0.05, 1.0)
        generator.error = Unavailable("the GPU is on fire")
        send(kafka, worker_config, Job("lost", "k1", "a"))
        status = (await over(running, "lost"))["lost"]
        assert (status.state, status.job.attempts, status.error) == (JobState.FAILED, 3, "the GPU is on fire")
        generator.error = None
        send(kafka, worker_config, Job("saved", "k2", "b"))
        assert (await over(running, "saved"))["saved"].state is JobState.DONE
        (letter,) = kafka.records(f"{worker_config.requests_topic}.dlq")
        assert dict(letter.headers)["eyecatch-detail"] == b"the GPU is on fire"
        assert value(running, "jobs_total", outcome="retried") == 2


async def test_a_bounded_number_of_jobs_at_a_time(kafka: Broker, worker_config: GenerateConfig) -> None:
    generator = FakeGenerator()
    generator.gate = asyncio.Event()
    async with working(worker_config, generator, jobs=3) as (running, _):
        await running.stores.catalog.upsert_items([Item(f"i{n}", "A") for n in range(5)])
        send(kafka, worker_config, *[Job(f"j{n}", f"k{n}", f"i{n}") for n in range(5)])
        await until(lambda: len(generator.briefs) == 3, "three jobs at work")
        await until(lambda: value(running, "requests_total", outcome="new") == 5, "the others in line")
        assert await running.queue.waiting() == 2
        assert len(running.worker.running) == len(generator.briefs) == 3
        generator.gate.set()
        statuses = await over(running, *[f"j{n}" for n in range(5)])
        assert {s.state for s in statuses.values()} == {JobState.DONE}


async def test_two_workers_share_one_queue_and_one_item(kafka: Broker, worker_config: GenerateConfig) -> None:
    """Both read the topic and take jobs; what one of them draws for an item and taste cluster the other one leaves alone."""
    one, other = FakeGenerator(), FakeGenerator()
    one.gate = other.gate = asyncio.Event()
    async with AsyncExitStack() as both:
        running, _ = await both.enter_async_context(working(worker_config, one, jobs=2))
        # two who join at one moment are sent away by this broker again and again, for up to half a minute
        await until(lambda: running.health.serving, "the first in the group")
        await both.enter_async_context(working(worker_config, other, jobs=2))
        await running.stores.catalog.upsert_items([Item("a", "A"), Item("b", "B")])
        send(kafka, worker_config, *[Job(f"a{n}", f"a{n}", "a", taste=1) for n in range(3)], Job("b", "b", "b"))
        await until(lambda: len(one.briefs) + len(other.briefs) == 2, "one job for each item")

        async def in_line() -> bool:
            return await running.queue.waiting() == 2

        await until(in_line, "the others in line")
        assert len(one.briefs) + len(other.briefs) == 2
        one.gate.set()
        assert {s.state for s in (await over(running, "a0", "a1", "a2", "b")).values()} == {JobState.DONE}
        assert len(one.briefs) + len(other.briefs) == 4


async def test_a_broker_that_comes_late_is_waited_for(worker_config: GenerateConfig) -> None:
    with running_behind_a_proxy() as (broker, proxy):
        config = replace(worker_config, kafka=broker.address, give_up_s=30.0)
        broker.create(config.requests_topic)
        proxy.cut()
        async with working(config) as (running, _):
            await running.stores.catalog.upsert_items([Item("a", "A")])
            await until(lambda: "no broker listens" in running.health.text(), "a trouble that is told")
            url = f"http://127.0.0.1:{running.health_port}/health"
            with pytest.raises(urllib.error.HTTPError, match="503") as caught:
                await asyncio.to_thread(urllib.request.urlopen, url)
            caught.value.close()
            proxy.mend()
            send(broker, config, Job("j", "k", "a"))
            assert (await over(running, "j"))["j"].state is JobState.DONE
            await until(lambda: running.health.serving, "health")


async def test_a_store_that_goes_away_is_told_and_ends_the_process(
    kafka: Broker, worker_config: GenerateConfig
) -> None:
    with redis_running() as redis:
        config = replace(worker_config, store=redis.url, give_up_s=1.0)
        async with working(config) as (running, _):
            await until(lambda: running.health.serving, "health")
            redis.kill()
            with pytest.raises(Unavailable, match="gave up"):
                await running.work
            assert "queue: " in running.health.text()


async def test_who_is_stopped_leaves_its_jobs_to_others_at_once(kafka: Broker, worker_config: GenerateConfig) -> None:
    """Well before the lease would have ended."""
    config = replace(worker_config, lease_s=60.0, drain_s=0.2)
    stuck = FakeGenerator()
    stuck.gate = asyncio.Event()
    async with working(config, stuck) as (running, _):
        await running.stores.catalog.upsert_items([Item("a", "A")])
        send(kafka, config, Job("j", "k", "a"))
        await until(lambda: bool(stuck.briefs), "the job at work")
    async with working(config) as (running, _):
        status = (await over(running, "j"))["j"]
        assert (status.state, status.job.attempts) == (JobState.DONE, 2)


async def test_without_a_store_to_share_it_does_not_start(worker_config: GenerateConfig) -> None:
    with pytest.raises(InvalidInput, match="store"):
        async with generating(replace(worker_config, store=""), FakeGenerator()):
            pass


async def test_a_drain_ends_though_an_answer_of_redis_swallowed_a_cancellation(
    worker_config: GenerateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asyncio.timeout in the client of Redis does, if an answer comes in the same turn of the loop."""
    running = asyncio.Event()

    async def swallowing(*_: object) -> None:
        running.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    monkeypatch.setattr(Line, "watch", swallowing)
    async with asyncio.timeout(20), working(worker_config):
        await running.wait()
