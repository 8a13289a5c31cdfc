"""The JobQueue port."""

import asyncio

import pytest
from eyecatch.core.errors import Overloaded
from eyecatch.core.types import Job, JobState

from tests.contracts.builders import MAX_WAITING, Stores, job


async def test_jobs_are_taken_in_order_and_finished(stores: Stores) -> None:
    whole = Job("j1", "k", "a", (0.125,) * 64, 3, 4, 7, 8, 0.5, 0.25, 9.5)
    assert (await stores.queue.put(whole)).state is JobState.QUEUED
    await stores.queue.put(job("j2"))
    assert await stores.queue.waiting() == 2
    taken = await stores.queue.take()
    assert taken == Job("j1", "k", "a", (0.125,) * 64, 3, 4, 7, 8, 0.5, 0.25, 9.5, attempts=1)
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
    await stores.queue.fail("j1", "no luck", retry=True)
    status = await stores.queue.status("j1")
    assert status is not None
    assert (status.state, status.error, status.job.attempts) == (JobState.QUEUED, "no luck", 1)
    taken = await stores.queue.take()
    assert taken is not None
    assert taken.attempts == 2
    await stores.queue.fail("j1", "given up", retry=False)
    status = await stores.queue.status("j1")
    assert status is not None
    assert (status.state, status.error) == (JobState.FAILED, "given up")
    assert (await stores.queue.put(job("j2", "k"))).job.id == "j2"


async def test_what_is_over_stays_over(stores: Stores) -> None:
    await stores.queue.put(job("j1"))
    await stores.queue.take()
    await stores.queue.finish("j1", ["c"])
    await stores.queue.fail("j1", "late", retry=True)
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
        await stores.queue.put(job(f"j{n}", made_for=user))
    await stores.queue.take()
    await stores.queue.finish("j0", ["c"])
    await stores.queue.take()
    assert await stores.queue.forget("mia-tag") == 3
    assert await stores.queue.forget("mia-tag") == 0
    assert [await stores.queue.status(f"j{n}") for n in range(3)] == [None] * 3
    assert await stores.queue.waiting() == 1
    await stores.queue.finish("j1", ["c"])  # its worker knew nothing
    await stores.queue.fail("j1", "late", retry=True)
    assert await stores.queue.status("j1") is None
    assert (await stores.queue.put(job("new", "j0"))).job.id == "new", "its key is free"
    taken = await stores.queue.take()
    assert taken is not None
    assert (taken.id, taken.made_for) == ("j3", "noah-tag")
