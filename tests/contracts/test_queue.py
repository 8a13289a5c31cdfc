"""The JobQueue port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from eyecatch.core.drawing import Drawing
from eyecatch.core.errors import (
    OVER_BUDGET,
    EyecatchError,
    InvalidInput,
    NotFound,
    NotReady,
    Overloaded,
    Unavailable,
    Violation,
)
from eyecatch.core.failures import Failure
from eyecatch.core.ports import Progress
from eyecatch.core.types import Budget, Caller, Job, JobState
from eyecatch.generate.announce import RequestSender
from eyecatch.generate.intake import Intake
from eyecatch.generate.metrics import GenerateMetrics
from eyecatch.kafka.buffer import Buffer
from eyecatch.kafka.dead_letters import topic_of
from eyecatch.kafka.producer import Producer
from eyecatch.kafka.retry import Retry
from eyecatch.kafka.source import Source, SourceOptions
from eyecatch.observe.health import Health
from eyecatch.stores.redis.queue import RedisQueue

from tests.broker import Broker
from tests.contracts.builders import MAX_WAITING, Stores, job
from tests.contracts.conftest import opened
from tests.unit.ingest.helpers import settings
from tests.waiting import until


class Settled(RedisQueue):
    """A queue whose requests go through Kafka; who takes waits until none is under way."""

    def __init__(self, queue: RedisQueue) -> None:
        self.__dict__ = queue.__dict__
        self.sent = self.arrived = 0

    async def take(self) -> Job | None:
        await until(lambda: self.arrived >= self.sent, "the requests' arrival")
        return await super().take()


@asynccontextmanager
async def through_kafka(stores: Stores, kafka: Broker, folder: Path) -> AsyncIterator[Stores]:
    """The same stores; jobs travel through a topic of the real broker, read by the intake of `eyecatch generate`."""
    topic = kafka.create(f"covers-{folder.name}")
    client = settings(kafka, topic, folder).kafka_client()
    health, metrics, producer = Health(), GenerateMetrics(), Producer(client)
    requests = RequestSender(producer, topic)

    async def send(job: Job) -> None:
        queue.sent += 1
        await requests(job)

    def accepted() -> None:
        queue.arrived += 1

    assert isinstance(stores.queue, RedisQueue)
    queue = Settled(stores.queue.with_log(send))
    buffer = Buffer(100)
    source = Source(client, SourceOptions(topic, topic_of(topic), topic, 0, 1.0, 0.2, 5.0), buffer, health, metrics)
    intake = Intake(buffer, source.done, queue, producer, topic, Retry(health, metrics, 5.0), metrics, accepted)
    source.start()
    reading = asyncio.ensure_future(intake.run())
    yield replace(stores, queue=queue)
    await asyncio.to_thread(source.close)
    await reading
    await producer.close()


@pytest.fixture(params=["sqlite", "redis", "redis-cluster", "kafka"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path, budget: Budget) -> AsyncIterator[Stores]:
    kind = "redis" if request.param == "kafka" else request.param
    async with opened(kind, request, tmp_path, budget) as stores:
        if request.param != "kafka":
            yield stores
            return
        async with through_kafka(stores, request.getfixturevalue("kafka"), tmp_path) as settled:
            yield settled


async def test_jobs_are_taken_in_order_and_finished(stores: Stores) -> None:
    caller = Caller("mia-tag", "", 7)
    whole = Job("j1", "k", "a", (0.125,) * 64, 3, 4, 7, Drawing(8, 0.5, 0.25), 9.5, caller=caller)
    assert (await stores.queue.put(whole)).state is JobState.QUEUED
    await stores.queue.put(job("j2"))
    assert await stores.queue.waiting() == 2
    taken = await stores.queue.take()
    assert taken == replace(whole, attempts=1)
    assert await stores.queue.waiting() == 1
    status = await stores.queue.status("j1")
    assert status is not None
    assert (status.state, status.job) == (JobState.RUNNING, taken)
    await stores.queue.finish("j1", ["c1", "c2"])
    status = await stores.queue.status("j1")
    assert status is not None
    assert (status.state, status.cover_ids) == (JobState.DONE, ("c1", "c2"))
    second = await stores.queue.take()
    assert second is not None
    assert second.id == "j2"
    assert await stores.queue.take() is None
    assert await stores.queue.status("absent") is None


async def test_a_key_has_one_job(stores: Stores) -> None:
    await stores.queue.put(job("j1", "k"))
    again = await stores.queue.put(job("j2", "k"))
    assert (again.job.id, again.state) == ("j1", JobState.QUEUED)
    await stores.queue.take()
    assert (await stores.queue.put(job("j2", "k"))).state is JobState.RUNNING
    await stores.queue.finish("j1", ["c"])
    done = await stores.queue.put(job("j2", "k"))
    assert (done.job.id, done.state, done.cover_ids) == ("j1", JobState.DONE, ("c",))
    assert await stores.queue.status("j2") is None


async def test_a_failed_job_frees_its_key(stores: Stores) -> None:
    await stores.queue.put(job("j1", "k"))
    await stores.queue.take()
    await stores.queue.fail("j1", Failure("no luck"), retry=True)
    status = await stores.queue.status("j1")
    assert status is not None
    assert (status.state, status.error, status.job.attempts) == (JobState.QUEUED, "no luck", 1)
    taken = await stores.queue.take()
    assert taken is not None
    assert taken.attempts == 2
    await stores.queue.fail("j1", Failure("given up"), retry=False)
    status = await stores.queue.status("j1")
    assert status is not None
    assert (status.state, status.error) == (JobState.FAILED, "given up")
    assert (await stores.queue.put(job("j2", "k"))).job.id == "j2"


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput([Violation("guidance", "30.0", "0 to 20"), Violation("size", "(1, 1)", "more")]),
        NotFound("product", "gone", "one, two"),
        NotReady("this checkpoint has no controlnet/"),
        Unavailable("the GPU is on fire"),
    ],
)
async def test_why_a_job_failed_is_kept(stores: Stores, error: EyecatchError) -> None:
    await stores.queue.put(job("j1"))
    await stores.queue.take()
    await stores.queue.fail("j1", Failure.of(error), retry=False)
    status = await stores.queue.status("j1")
    assert status is not None
    assert status.failure == Failure.of(error)
    again = status.failure.error()
    assert (type(again), str(error) in str(again)) == (type(error), True)


async def test_what_is_over_stays_over(stores: Stores) -> None:
    await stores.queue.put(job("j1"))
    await stores.queue.take()
    await stores.queue.finish("j1", ["c"])
    await stores.queue.fail("j1", Failure("late"), retry=True)
    status = await stores.queue.status("j1")
    assert status is not None
    assert (status.state, status.error) == (JobState.DONE, "")
    assert await stores.queue.take() is None


async def test_a_full_queue_refuses_but_still_answers_for_its_keys(stores: Stores) -> None:
    for n in range(MAX_WAITING):
        await stores.queue.put(job(f"j{n}"))
    with pytest.raises(Overloaded):
        await stores.queue.put(job("more"))
    assert (await stores.queue.put(job("again", "j0"))).job.id == "j0"
    await stores.queue.take()
    assert (await stores.queue.put(job("more"))).state is JobState.QUEUED


async def test_running_jobs_are_recovered_in_their_old_order(stores: Stores) -> None:
    for n in range(3):
        await stores.queue.put(job(f"j{n}"))
    await stores.queue.take()
    await stores.queue.take()
    assert await stores.queue.recover() == 2
    assert await stores.queue.recover() == 0
    taken = [await stores.queue.take() for _ in range(3)]
    assert [t.id for t in taken if t] == ["j0", "j1", "j2"]


async def test_the_oldest_job_is_the_first_in_line(stores: Stores) -> None:
    assert await stores.queue.oldest() is None
    for n in range(3):
        await stores.queue.put(job(f"j{n}"))
    await stores.queue.take()
    oldest = await stores.queue.oldest()
    assert oldest is not None
    assert oldest.id == "j1"


async def test_takers_at_the_same_time_get_different_jobs(stores: Stores) -> None:
    for n in range(MAX_WAITING):
        await stores.queue.put(job(f"j{n}"))
    taken = await asyncio.gather(*[stores.queue.take() for _ in range(2 * MAX_WAITING)])
    assert sorted(t.id for t in taken if t) == [f"j{n}" for n in range(MAX_WAITING)]


async def test_requests_at_the_same_time_with_one_key_make_one_job(stores: Stores) -> None:
    answers = await asyncio.gather(*[stores.queue.put(job(f"j{n}", "k")) for n in range(20)])
    assert len({a.job.id for a in answers}) == 1
    assert await stores.queue.waiting() == 1


async def test_the_jobs_of_one_user_are_forgotten_wherever_they_stand(stores: Stores) -> None:
    for n, user in enumerate(["mia-tag", "mia-tag", "mia-tag", "noah-tag"]):
        named = {"caller": Caller(user)} if n == 2 else {"made_for": user}
        await stores.queue.put(job(f"j{n}", **named))
    await stores.queue.take()
    await stores.queue.finish("j0", ["c"])
    await stores.queue.take()
    assert await stores.queue.forget("mia-tag") == 3
    assert await stores.queue.forget("mia-tag") == 0
    assert [await stores.queue.status(f"j{n}") for n in range(3)] == [None] * 3
    assert await stores.queue.waiting() == 1
    await stores.queue.finish("j1", ["c"])  # its worker knew nothing
    await stores.queue.fail("j1", Failure("late"), retry=True)
    assert await stores.queue.status("j1") is None
    assert (await stores.queue.put(job("new", "j0"))).job.id == "new", "its key is free"
    taken = await stores.queue.take()
    assert taken is not None
    assert (taken.id, taken.made_for) == ("j3", "noah-tag")


async def test_one_job_for_an_item_and_taste_cluster_runs_at_a_time(stores: Stores) -> None:
    for n, (item_id, taste) in enumerate([("a", 1), ("a", 1), ("a", 2), ("b", 1)]):
        await stores.queue.put(job(f"j{n}", item_id=item_id, taste=taste))
    taken = await asyncio.gather(*[stores.queue.take() for _ in range(6)])
    assert sorted(t.id for t in taken if t) == ["j0", "j2", "j3"]
    assert await stores.queue.waiting() == 1
    await stores.queue.fail("j0", Failure("no luck"), retry=True)
    again = await stores.queue.take()
    assert (again.id if again else "") == "j0", "it keeps its place"
    await stores.queue.finish("j0", [])
    last = await stores.queue.take()
    assert (last.id if last else "") == "j1"


async def test_a_job_that_is_tried_again_later_holds_up_nobody(stores: Stores) -> None:
    await stores.queue.put(job("j0"))
    await stores.queue.put(job("j1"))
    await stores.queue.take()
    await stores.queue.fail("j0", Failure("no luck"), retry=True, delay_s=0.3)
    first = await stores.queue.take()
    assert (first.id if first else "") == "j1"
    assert await stores.queue.take() is None
    assert await stores.queue.waiting() == 1
    async with asyncio.timeout(5):
        while (second := await stores.queue.take()) is None:
            await asyncio.sleep(0.01)
    assert (second.id, second.attempts) == ("j0", 2)


async def test_who_holds_a_job_learns_that_it_is_gone(stores: Stores) -> None:
    for n in range(3):
        await stores.queue.put(job(f"j{n}", made_for="mia-tag" if n == 2 else ""))
        await stores.queue.take()
    assert await stores.queue.hold(["j0", "j1", "j2"]) == {"j0", "j1", "j2"}
    await stores.queue.cancel("j0", Failure("gone"))
    await stores.queue.forget("mia-tag")
    assert await stores.queue.hold(["j0", "j1", "j2"]) == {"j1"}
    assert await stores.queue.hold([]) == set()
    await stores.queue.finish("j0", ["c"])
    status = await stores.queue.status("j0")
    assert status is not None
    assert (status.state, status.error, status.cover_ids) == (JobState.FAILED, "gone", ())
    await stores.queue.finish("j1", ["c"])
    await stores.queue.cancel("j1", Failure("late"))
    status = await stores.queue.status("j1")
    assert status is not None
    assert status.state is JobState.DONE
    assert (await stores.queue.put(job("again", "j0"))).job.id == "again", "a cancelled job frees its key"


async def test_where_jobs_stand(stores: Stores) -> None:
    for n in range(3):
        await stores.queue.put(job(f"j{n}"))
    assert (await stores.queue.progress(["j2"]))["j2"] == Progress(3)
    await stores.queue.take()
    assert await stores.queue.progress(["j0", "j1", "j2", "absent"]) == {
        "j0": Progress(0),
        "j1": Progress(1),
        "j2": Progress(2),
    }
    await stores.queue.post("j0", Progress(0, 3, 8, b"picture"))
    assert (await stores.queue.progress(["j0"]))["j0"] == Progress(0, 3, 8, b"picture")
    await stores.queue.finish("j0", ["c"])
    assert await stores.queue.progress(["j0"]) == {"j0": await stores.queue.status("j0")}
    assert await stores.queue.progress([]) == {}


@pytest.mark.parametrize("budget", [Budget(per_item=3), Budget(per_hour=3)])
async def test_a_job_over_budget_is_refused_and_says_so(stores: Stores, budget: Budget) -> None:
    queue = stores.queue
    for n, count in enumerate([2, 2, 1]):
        await queue.put(job(f"j{n}", item_id="a", taste=n, count=count))
    await queue.put(job("j3", item_id="b", count=3))
    first = await queue.take()
    assert (first.id if first else "") == "j0"
    await queue.fail("j0", Failure("no luck"), retry=True)
    again = await queue.take()
    assert (again.id if again else "") == "j0", "a job submitted again costs nothing more"
    second = await queue.take()
    assert (second.id if second else "") == "j2"
    status = await queue.status("j1")
    assert status is not None
    assert status.state is JobState.FAILED
    assert status.error.startswith(f"{OVER_BUDGET}: 3 covers an hour ")
    assert isinstance(status.failure.error(), Overloaded)
    other = await queue.take()
    assert (other is None) == bool(budget.per_hour)
    assert (await queue.put(job("later", "j1"))).job.id == "later", "its key is free"
