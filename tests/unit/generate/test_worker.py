"""The worker over a real queue: what it holds, loses and gives up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from eyecatch.core.backoff import Backoff
from eyecatch.core.errors import Unavailable
from eyecatch.core.generator import GeneratedCover
from eyecatch.core.ports import JobQueue
from eyecatch.core.types import Item, JobState, JobStatus
from eyecatch.generate.hub import Hub
from eyecatch.generate.making import Maker
from eyecatch.generate.worker import MAX_ATTEMPTS, MAX_TAKES, Worker
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.redis import RedisStore
from eyecatch.stores.redis.link import Link
from eyecatch.stores.redis.queue import QueueOptions, RedisQueue
from eyecatch.stores.sqlite import SqliteStore

from tests.contracts.builders import job
from tests.fakes import FakeGenerator
from tests.servers import RedisServer
from tests.waiting import until


@asynccontextmanager
async def working(
    store: SqliteStore | RedisStore, queue: JobQueue, generator: FakeGenerator, folder: Path, jobs: int = 1
) -> AsyncIterator[Worker]:
    await store.catalog.upsert_items([Item("a", "A"), Item("b", "B")])
    maker = Maker(store.catalog, FsspecBlobs(str(folder / "blobs")), generator, lambda item_id, new, gone: None)
    worker = Worker(queue, maker, Hub(), jobs, backoff=Backoff(0.0, 0.0), alive=generator.alive)
    serving = asyncio.ensure_future(worker.run())
    yield worker
    await worker.drain(0.0)
    await serving


def ended(queue: JobQueue, id: str) -> Callable[[], Awaitable[bool]]:
    async def over() -> bool:
        status = await queue.status(id)
        return status is not None and status.state in (JobState.DONE, JobState.FAILED)

    return over


async def test_a_job_that_every_worker_dies_of_is_given_up(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    await store.queue.put(job("j", item_id="a"))
    for _ in range(MAX_TAKES):
        await store.queue.take()
        await store.queue.recover()
    generator = FakeGenerator()
    async with working(store, store.queue, generator, tmp_path):
        await until(ended(store.queue, "j"), "its end")
    status = await store.queue.status("j")
    assert status is not None
    assert (status.state, status.error) == (JobState.FAILED, "its workers died 10 times")
    assert not generator.briefs
    store.close()


async def test_jobs_wait_untouched_while_the_generator_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyecatch.generate.worker.LOOK", Backoff(0.01, 0.01))
    store, generator = SqliteStore.open(tmp_path), FakeGenerator()
    generator.there = False
    async with working(store, store.queue, generator, tmp_path) as worker:
        for n in range(20):
            await store.queue.put(job(f"j{n}", item_id="a"))
        await until(lambda: worker._looks > 5, "looks at the generator")
        statuses = [await store.queue.status(f"j{n}") for n in range(20)]
        assert {(status.state, status.job.attempts) for status in statuses if status} == {(JobState.QUEUED, 0)}
        generator.there = True
        for n in range(20):
            await until(ended(store.queue, f"j{n}"), "its end")
    assert len(generator.briefs) == 20
    store.close()


class Restarting(FakeGenerator):
    """Goes away at each of its first `restarts` covers, and is back at the third look."""

    restarts = MAX_ATTEMPTS + 1
    looks = 3

    async def generate(self, *brief: Any) -> Sequence[GeneratedCover]:
        if self.restarts:
            self.restarts, self.looks = self.restarts - 1, 0
            raise Unavailable("away")
        return await super().generate(*brief)

    async def alive(self) -> bool:
        self.looks += 1
        return self.looks > 2


async def test_a_generator_that_goes_away_again_and_again_costs_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eyecatch.generate.worker.LOOK", Backoff(0.0, 0.0))
    store, generator = SqliteStore.open(tmp_path), Restarting()
    await store.queue.put(job("j", item_id="a"))
    async with working(store, store.queue, generator, tmp_path):
        await until(ended(store.queue, "j"), "its end")
    status = await store.queue.status("j")
    assert status is not None
    assert status.state is JobState.DONE
    store.close()


@pytest.fixture
async def shared(redis_server: RedisServer) -> AsyncIterator[tuple[RedisStore, Link]]:
    redis_server.client.flushall()
    link = await Link.open(redis_server.url)
    yield RedisStore(link), link
    await link.close()


async def test_a_lease_that_ended_unnoticed_is_taken_up_again(
    shared: tuple[RedisStore, Link], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that stood still for longer than its lease: the job at work goes on, and is not begun beside itself."""
    monkeypatch.setattr("eyecatch.generate.worker.BEAT_S", 60.0)
    (store, link), now = shared, [1e9]
    queue = RedisQueue(link, QueueOptions(9, lease_s=5.0), clock=lambda: now[0])
    generator = FakeGenerator()
    generator.gate = asyncio.Event()
    await queue.put(job("j", item_id="a"))
    async with working(store, queue, generator, tmp_path, jobs=2):
        await until(lambda: bool(generator.briefs), "the job at work")
        now[0] += 6

        async def again() -> bool:
            status = await queue.status("j")
            return status is not None and status.job.attempts == 2

        await until(again, "the job's being taken again")
        generator.gate.set()
        await until(ended(queue, "j"), "its end")
    assert len(generator.briefs) == 1


async def test_who_loses_a_job_stops_and_does_not_say_how_it_ended(
    shared: tuple[RedisStore, Link], tmp_path: Path
) -> None:
    """Another process has taken it and is done: watchers here are told so, by those who look."""
    (store, link), now = shared, [1e9]
    slow, other = (RedisQueue(link, QueueOptions(9, lease_s=5.0), clock=lambda: now[0]) for _ in range(2))
    generator = FakeGenerator()
    generator.gate = asyncio.Event()
    await slow.put(job("j", item_id="a"))
    async with working(store, slow, generator, tmp_path) as worker:
        await until(lambda: bool(generator.briefs), "the job at work")
        with worker._hub.subscribe("j"):
            now[0] += 6
            await other.take()
            await other.finish("j", ["c"])
            await until(lambda: not worker.running, "the end of the work")
            assert not isinstance(worker._hub._latest.get("j"), JobStatus)
    assert generator.steps_done == 0
    status = await slow.status("j")
    assert status is not None
    assert (status.state, status.cover_ids) == (JobState.DONE, ("c",))
