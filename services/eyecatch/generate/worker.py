"""The worker: takes jobs, has their covers made, and reports how they end. If it dies, another worker takes over its jobs.

A job is held by renewing the hold every beat; one that was cancelled, forgotten or given away meanwhile is dropped within a beat.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from eyecatch.core.backoff import Backoff
from eyecatch.core.errors import EyecatchError, InternalError, NotFound, Unavailable
from eyecatch.core.failures import Failure
from eyecatch.core.ports import JobQueue, Progress
from eyecatch.core.types import Cover, Job, JobState, JobStatus
from eyecatch.generate.hub import Hub
from eyecatch.generate.making import Maker

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 3
RETRY = Backoff(1.0, 30.0)
# Takes count too, because a job may end with its worker; a job that kills every worker must not be tried for ever.
MAX_TAKES = 10
# Seconds until this process notices a new job, and until it renews holds and posts progress.
POLL_S, BEAT_S = 0.5, 0.25
STOPPED = Failure.of(Unavailable("its worker was stopped"))


class Announcer:
    """Announces ends of jobs to other processes before they are stored. This one announces nothing."""

    async def made(self, job: Job, covers: Sequence[Cover]) -> None:
        """The job's covers are in the pool."""

    async def given_up(self, job: Job, error: EyecatchError) -> None:
        """The job is not tried again."""


class Tally:
    """Counts what the worker does. This one counts nothing."""

    def ended(self, outcome: str, covers: int, seconds: float) -> None:
        """A job ended so after this many seconds."""

    def running(self, jobs: int) -> None:
        """The number of jobs at work now."""

    def queue(self, error: Unavailable | None) -> None:
        """The queue answered, or failed with `error`. An exception raised here ends the worker."""


@dataclass(eq=False)
class _Held:
    """A job at work. `dropped`: it is not ours any more, and the queue knows. `over`: its end is being stored. `latest`: progress that
    is not posted yet."""

    job: Job
    dropped: bool = False
    over: bool = False
    latest: Progress | None = None


class Worker:
    """Works on at most `jobs` at a time."""

    def __init__(
        self,
        queue: JobQueue,
        maker: Maker,
        hub: Hub,
        jobs: int = 1,
        announcer: Announcer | None = None,
        tally: Tally | None = None,
        backoff: Backoff = RETRY,
    ) -> None:
        self._queue, self._maker, self._hub, self._jobs = queue, maker, hub, jobs
        self._announcer, self._tally = announcer or Announcer(), tally or Tally()
        self._backoff = backoff
        self._wake = asyncio.Event()
        self._running: dict[str, tuple[_Held, asyncio.Task[None]]] = {}
        self._stopping = False

    @property
    def running(self) -> set[str]:
        """Ids of the jobs at work here."""
        return set(self._running)

    def wake(self) -> None:
        self._wake.set()

    def drop(self, job_id: str) -> None:
        """Stop a job within a denoising step; the queue already knows that it is not ours."""
        held, task = self._running.get(job_id, (None, None))
        if held is not None and task is not None and not held.over:
            held.dropped = True
            task.cancel()

    async def run(self) -> None:
        """Serve the queue until cancelled or drained."""
        while not self._stopping:
            self._wake.clear()
            job = None
            if len(self._running) < self._jobs:
                try:
                    job = await self._queue.take()
                    self._tally.queue(None)
                except Unavailable as error:
                    log.warning("queue_unavailable", error=str(error))
                    self._tally.queue(error)
                    await asyncio.sleep(self._backoff(0))
                    continue
            if job is not None and self._stopping:
                await self._queue.fail(job.id, STOPPED, retry=True)
            elif job is not None:
                await self._start(job)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_S)

    async def drain(self, grace_s: float) -> None:
        """Take no more jobs; running ones get `grace_s` to end and then go back to the queue."""
        self._stopping = True
        self.wake()
        tasks = [task for _, task in self._running.values()]
        if not tasks:
            return
        _, left = await asyncio.wait(tasks, timeout=grace_s)
        if left:
            log.info("jobs_given_back", jobs=len(left))
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _start(self, job: Job) -> None:
        before, ending = self._running.get(job.id, (None, None))
        if before is not None and ending is not None:
            if not (before.dropped or before.over):
                return  # our lease ended and we took the job again: the work goes on
            await asyncio.wait([ending])
        held = _Held(job)
        task = asyncio.ensure_future(self._run_job(held))
        self._running[job.id] = held, task
        self._tally.running(len(self._running))
        task.add_done_callback(lambda _: self._ended(job.id))

    def _ended(self, job_id: str) -> None:
        del self._running[job_id]
        self._tally.running(len(self._running))
        self.wake()

    async def _run_job(self, held: _Held) -> None:
        """Run one job to its end and notify its watchers."""
        job = held.job
        beat = asyncio.ensure_future(self._beat(held))
        started = time.perf_counter()
        try:
            covers = await self._make(held)
            held.over = True
            await self._queue.finish(job.id, [cover.id for cover in covers])
            status = JobStatus(job, JobState.DONE, tuple(cover.id for cover in covers))
            log.info(
                "covers_made",
                job=job.id,
                item=job.item_id,
                covers=len(covers),
                seconds=round(time.perf_counter() - started, 2),
            )
        except asyncio.CancelledError:
            if not held.dropped:
                await self._queue.fail(job.id, STOPPED, retry=True)
                raise
            self._tally.ended("dropped", 0, time.perf_counter() - started)
            return  # the queue has its end already
        except Unavailable as error:
            status = await self._failed(held, error, retry=job.attempts < MAX_ATTEMPTS)
        except EyecatchError as error:
            status = await self._failed(held, error, retry=False)
        except Exception as error:
            log.error("job_broke", job=job.id, item=job.item_id, exc_info=error)
            status = await self._failed(
                held, InternalError("internal error; the server's log has the details"), retry=False
            )
        finally:
            beat.cancel()
        outcome = "retried" if status.state is JobState.QUEUED else status.state.name.lower()
        self._tally.ended(outcome, len(status.cover_ids), time.perf_counter() - started)
        self._hub.tell(job.id, status)

    async def _make(self, held: _Held) -> list[Cover]:
        job = held.job
        if job.attempts > MAX_TAKES:
            raise InternalError(f"its workers died {MAX_TAKES} times")

        def tell(progress: Progress) -> None:
            held.latest = progress
            self._hub.tell(job.id, progress)

        covers = await self._maker.make(job, tell)
        ids = [cover.id for cover in covers]
        if job.made_for and await self._queue.status(job.id) is None:
            # The user was forgotten while we drew, maybe before these covers could be found and removed.
            await self._maker.remove(job.item_id, ids)
            raise NotFound("job", job.id)
        await self._announcer.made(job, covers)
        return covers

    async def _beat(self, held: _Held) -> None:
        id = held.job.id
        while not held.over:
            await asyncio.sleep(BEAT_S)
            try:
                if not await self._queue.hold([id]):
                    return self.drop(id)
                if held.latest is not None:
                    latest, held.latest = held.latest, None
                    await self._queue.post(id, latest)
            except Unavailable as error:
                log.warning("queue_unavailable", error=str(error))

    async def _failed(self, held: _Held, error: EyecatchError, retry: bool) -> JobStatus:
        job, failure = held.job, Failure.of(error)
        log.warning("job_failed", job=job.id, item=job.item_id, error=str(error), retry=retry)
        try:
            if not retry:
                await self._announcer.given_up(job, error)
            held.over = True
            await self._queue.fail(job.id, failure, retry, self._backoff(job.attempts - 1))
        except EyecatchError as unavailable:  # the job stays RUNNING in the store until its lease ends
            log.warning("queue_unavailable", error=str(unavailable))
        return JobStatus(job, JobState.QUEUED if retry else JobState.FAILED, (), failure)
