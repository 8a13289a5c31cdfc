"""What only a shared queue does: jobs through a log, leases, and what is told to other processes. On one Redis and on a cluster."""

from collections.abc import AsyncIterator, Callable

import pytest
from eyecatch.core.errors import Overloaded, Unavailable
from eyecatch.core.failures import Failure
from eyecatch.core.types import Job, JobState
from eyecatch.stores.redis.link import Link
from eyecatch.stores.redis.queue import RECORD_S, QueueOptions, RedisQueue

from tests.contracts.builders import job

MAX_WAITING = 4


class Clock:
    now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["redis", "redis-cluster"])
async def another(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Callable[[], RedisQueue]]:
    """Makes queues over one state, as other processes have them; a lease lasts ten seconds."""
    cluster = request.param == "redis-cluster"
    nodes = request.getfixturevalue("redis_cluster") if cluster else [request.getfixturevalue("redis_server")]
    for node in nodes:
        node.client.flushall()
    link = await Link.open(nodes[0].url)
    yield lambda: RedisQueue(link, QueueOptions(MAX_WAITING, lease_s=10.0), clock)
    await link.close()


@pytest.fixture
def queue(another: Callable[[], RedisQueue]) -> RedisQueue:
    return another()


async def state(queue: RedisQueue, id: str) -> JobState | None:
    status = await queue.status(id)
    return status.state if status else None


async def test_a_job_through_the_log_waits_for_its_record(queue: RedisQueue) -> None:
    sent: list[Job] = []

    async def send(job: Job) -> None:
        sent.append(job)

    front = queue.with_log(send)
    assert (await front.put(job("j1", "k"))).state is JobState.QUEUED
    assert (await front.put(job("j2", "k"))).job.id == "j1"
    assert [j.id for j in sent] == ["j1"]
    assert await front.waiting() == 1
    assert await queue.take() is None
    assert await queue.accept(sent[0], "t/0/0")
    assert not await queue.accept(sent[0], "t/0/0"), "read again"
    taken = await queue.take()
    assert (taken.id if taken else "") == "j1"
    assert not await queue.accept(sent[0], "t/0/1"), "sent twice"
    await queue.finish("j1", ["c"])
    assert not await queue.accept(sent[0], "t/0/1")
    assert await state(queue, "j1") is JobState.DONE


async def test_a_record_that_never_comes_is_not_waited_for(queue: RedisQueue, clock: Clock) -> None:
    async def lose(job: Job) -> None:
        pass

    await queue.with_log(lose).put(job("j1"))
    clock.now += RECORD_S - 1
    assert await queue.take() is None
    clock.now += 2
    taken = await queue.take()
    assert (taken.id if taken else "") == "j1"


async def test_what_cannot_be_sent_was_never_there(queue: RedisQueue) -> None:
    async def refuse(job: Job) -> None:
        raise Unavailable("no broker")

    with pytest.raises(Unavailable):
        await queue.with_log(refuse).put(job("j1", "k", made_for="mia"))
    assert await queue.status("j1") is None
    assert await queue.waiting() == 0
    assert (await queue.put(job("j2", "k"))).job.id == "j2", "its key is free"
    assert not await queue.accept(job("j1", "k"), "t/0/0"), "it came all the same, and its key has another job"
    assert not await queue.accept(job("j3", made_for="mia"), "t/0/1"), "a user's job is done only where it is known"


async def test_requests_of_others_join_the_job_with_their_key(queue: RedisQueue) -> None:
    assert await queue.accept(job("j1", "k"), "t/0/0")
    assert not await queue.accept(job("j2", "k"), "t/0/1")
    assert await state(queue, "j2") is None
    for n in range(MAX_WAITING - 1):
        assert await queue.accept(job(f"more{n}"), f"t/0/{n + 2}")
    with pytest.raises(Overloaded):
        await queue.accept(job("too-many"), "t/0/9")


async def test_a_failed_job_that_is_replayed_starts_anew(queue: RedisQueue) -> None:
    await queue.accept(job("j1", "k"), "t/0/0")
    await queue.take()
    await queue.fail("j1", Failure("no luck"), retry=False)
    assert not await queue.accept(job("j1", "k"), "t/0/0"), "read again after a crash"
    assert await queue.accept(job("j1", "k"), "t/0/1"), "sent back from the dead letters"
    taken = await queue.take()
    assert taken is not None
    assert taken.attempts == 1
    await queue.fail("j1", Failure("no luck"), retry=False)
    await queue.put(job("j2", "k"))
    assert not await queue.accept(job("j1", "k"), "t/0/2"), "its key has another job now"


async def test_a_job_is_held_by_saying_so(another: Callable[[], RedisQueue], clock: Clock) -> None:
    one, other = another(), another()
    await one.put(job("j1"))
    await one.take()
    for _ in range(3):
        clock.now += 8
        assert await one.hold(["j1"]) == {"j1"}
        assert await other.hold(["j1"]) == set()
        assert await other.take() is None
    await other.fail("j1", Failure("not mine"), retry=False)
    assert await state(one, "j1") is JobState.RUNNING
    clock.now += 11
    taken = await other.take()
    assert (taken.attempts if taken else 0) == 2
    assert await one.hold(["j1"]) == set()
    await one.fail("j1", Failure("late"), retry=False)
    assert await state(one, "j1") is JobState.RUNNING, "another one works on it"
    await one.finish("j1", ["c"])
    assert await state(one, "j1") is JobState.DONE, "the covers are there, whoever made them"
    assert await other.hold(["j1"]) == set()


async def test_a_queue_longer_than_a_page_is_looked_through(
    another: Callable[[], RedisQueue], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eyecatch.stores.redis.queue.PAGE", 1)
    queue = another()
    for n, item_id in enumerate("aab"):
        await queue.put(job(f"j{n}", item_id=item_id))
    assert [t.id for t in [await queue.take(), await queue.take()] if t] == ["j0", "j2"]
    clock.now += 11  # both leases end
    assert [t.id for t in [await queue.take(), await queue.take()] if t] == ["j0", "j2"]


async def test_whose_pools_changed_is_told_once(
    another: Callable[[], RedisQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eyecatch.stores.redis.queue.KEEP_FINISHED", 3)
    one, other = another(), another()
    assert await other.changed(-1) == (0, ())
    for n in range(3):
        await one.put(job(f"j{n}", item_id=f"i/{n}"))
        await one.take()
        await one.finish(f"j{n}", [f"c{n}"])
    assert await other.changed(0) == (3, {"i/0", "i/1", "i/2"})
    assert await other.changed(3) == (3, ())
    assert await another().changed(-1) == (3, ()), "who comes later reads the pools as they are"
    await one.announce(["i/2"])
    await one.announce([])
    assert await other.changed(3) == (4, {"i/2"})
    assert await other.changed(0) == (4, None), "too long ago"
