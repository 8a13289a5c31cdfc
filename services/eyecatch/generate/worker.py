"""The worker: takes jobs, has their covers made, and stores how they end. If it dies, another worker takes over its jobs.

A worker holds a job by renewing the hold every BEAT_S; a job that was cancelled, forgotten or given to another worker is dropped
within that time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from eyecatch.core.backoff import Backoff
from eyecatch.core.errors import EyecatchError, InternalError, NotFound, StoreDamaged, StoreError, Unavailable
from eyecatch.core.failures import Failure
from eyecatch.core.ports import JobQueue, Progress
from eyecatch.core.types import Cover, Job, JobState, JobStatus
from eyecatch.generate.hub import Hub
from eyecatch.generate.making import Maker

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 3
RETRY = Backoff(1.0, 30.0)
# Between two looks at a generator that is away.
LOOK = Backoff(0.5, 5.0)
# A job that kills its worker fails without an error. Takes are limited so that it is not tried for ever.
MAX_TAKES = 10
# Seconds until this process notices a new job, and until it renews holds and posts progress.
POLL_S, BEAT_S = 0.5, 0.25
STOPPED = Failure.of(Unavailable("its worker was stopped"))


class Announcer:
    """Announces ends of jobs to other processes before they are stored. This base class announces nothing."""

    async def covers_made(self, job: Job, covers: Sequence[Cover]) -> None:
        """The job's covers are in the pool."""

    async def job_failed(self, job: Job, error: EyecatchError) -> None:
        """The job has failed and is not tried again."""


class Observer:
    """Observes a worker, for metrics. This base class does nothing."""

    def job_ended(self, outcome: str, covers: int, seconds: float) -> None:
        """A job ended with `outcome` after this many seconds."""

    def jobs_running(self, jobs: int) -> None:
        """The number of running jobs changed."""

    def queue_answered(self, error: Unavailable | StoreError | None) -> None:
        """The queue answered, or failed with `error`. An exception raised here ends the worker."""

    def generator_answered(self, alive: bool) -> None:
        """The generator was asked whether it could draw, after it had failed or at the start."""


def away() -> Unavailable:
    """Told to callers who wait for a job; one with an idempotency key stays in the line."""
    return Unavailable("the generator does not answer; jobs wait for it")


async def _always() -> bool:
    return True


@dataclass(eq=False)
class _ActiveJob:
    """A running job. dropped: it is not ours any more, and the queue knows. over: its end is being stored. latest: unposted progress."""

    job: Job
    dropped: bool = False
    over: bool = False
    latest: Progress | None = None


class Worker:
    """Runs at most `jobs` jobs at a time. `alive`: whether the generator could draw; while not, jobs wait and lose no try."""

    def __init__(
        self,
        queue: JobQueue,
        maker: Maker,
        hub: Hub,
        jobs: int = 1,
        announcer: Announcer | None = None,
        observer: Observer | None = None,
        backoff: Backoff = RETRY,
        alive: Callable[[], Awaitable[bool]] = _always,
    ) -> None:
        self._queue, self._maker, self._hub, self._jobs = queue, maker, hub, jobs
        self._announcer, self._observer = announcer or Announcer(), observer or Observer()
        self._backoff, self._alive = backoff, alive
        # From the start, and from a failure, until the generator answers.
        self._doubtful = True
        self._looks = 0
        self._wake = asyncio.Event()
        self._running: dict[str, tuple[_ActiveJob, asyncio.Task[None]]] = {}
        self._stop = asyncio.Event()

    @property
    def running(self) -> set[str]:
        """Ids of the jobs that run here."""
        return set(self._running)

    def wake(self) -> None:
        self._wake.set()

    def drop(self, job_id: str) -> None:
        """Stop a job within a denoising step; the queue already knows that it is not ours."""
        active, task = self._running.get(job_id, (None, None))
        if active is not None and task is not None and not active.over:
            active.dropped = True
            task.cancel()

    async def run(self) -> None:
        """Take and run jobs until cancelled or drained."""
        while not self._stop.is_set():
            self._wake.clear()
            job = None
            if not await self.can_draw():
                self._looks += 1
                for id in self._hub.watched:
                    if id not in self._running:
                        self._hub.publish(id, away())
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOOK(self._looks - 1))
                continue
            if len(self._running) < self._jobs:
                try:
                    job = await self._queue.take()
                    self._observer.queue_answered(None)
                except (Unavailable, StoreError) as error:
                    log.warning("queue_unavailable", error=str(error))
                    self._observer.queue_answered(error)
                    await asyncio.sleep(self._backoff(0))
                    continue
            if job is not None and self._stop.is_set():
                await self._queue.fail(job.id, STOPPED, retry=True)
            elif job is not None:
                await self._start(job)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_S)

    async def can_draw(self) -> bool:
        """Whether the generator answers. Asks only one that failed: a job that it cannot draw now would lose one of its tries."""
        if self._doubtful:
            self._doubtful = not await self._alive()
            self._observer.generator_answered(not self._doubtful)
            if not self._doubtful:
                self._looks = 0
        return not self._doubtful

    async def drain(self, grace_s: float) -> None:
        """Take no more jobs; jobs that still run after `grace_s` seconds go back to the queue."""
        self._stop.set()
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
                return  # our lease ended and we took the job again while it still runs
            await asyncio.wait([ending])
        active = _ActiveJob(job)
        task = asyncio.ensure_future(self._run_job(active))
        self._running[job.id] = active, task
        self._observer.jobs_running(len(self._running))
        task.add_done_callback(lambda _: self._remove(job.id))

    def _remove(self, job_id: str) -> None:
        del self._running[job_id]
        self._observer.jobs_running(len(self._running))
        self.wake()

    async def _run_job(self, active: _ActiveJob) -> None:
        """Run one job to its end, store how it ended and notify its watchers."""
        job = active.job
        beat = asyncio.ensure_future(self._beat(active))
        started = time.perf_counter()
        try:
            covers = await self._make(active)
            active.over = True
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
            if not active.dropped:
                await self._queue.fail(job.id, STOPPED, retry=True)
                raise
            self._observer.job_ended("dropped", 0, time.perf_counter() - started)
            return  # the queue already has its end
        except (Unavailable, StoreError) as error:
            self._doubtful = True
            again = job.attempts < MAX_ATTEMPTS or not await self.can_draw()
            status = await self._fail(active, error, retry=again and not isinstance(error, StoreDamaged))
        except EyecatchError as error:
            status = await self._fail(active, error, retry=False)
        except Exception as error:
            log.error("job_broke", job=job.id, item=job.item_id, exc_info=error)
            status = await self._fail(
                active, InternalError("internal error; the server's log has the details"), retry=False
            )
        finally:
            beat.cancel()
        outcome = "retried" if status.state is JobState.QUEUED else status.state.name.lower()
        self._observer.job_ended(outcome, len(status.cover_ids), time.perf_counter() - started)
        self._hub.publish(job.id, status)

    async def _make(self, active: _ActiveJob) -> list[Cover]:
        job = active.job
        if job.attempts > MAX_TAKES:
            raise InternalError(f"its workers died {MAX_TAKES} times")

        def on_progress(progress: Progress) -> None:
            active.latest = progress
            self._hub.publish(job.id, progress)

        covers = await self._maker.make(job, on_progress)
        ids = [cover.id for cover in covers]
        if job.made_for and await self._queue.status(job.id) is None:
            # The user was forgotten while we drew, maybe before these covers were in the pool.
            await self._maker.remove(job.item_id, ids)
            raise NotFound("job", job.id)
        await self._announcer.covers_made(job, covers)
        return covers

    async def _beat(self, active: _ActiveJob) -> None:
        id = active.job.id
        while not active.over:
            await asyncio.sleep(BEAT_S)
            try:
                if not await self._queue.hold([id]):
                    return self.drop(id)
                if active.latest is not None:
                    latest, active.latest = active.latest, None
                    await self._queue.post(id, latest)
            except (Unavailable, StoreError) as error:
                log.warning("queue_unavailable", error=str(error))

    async def _fail(self, active: _ActiveJob, error: EyecatchError, retry: bool) -> JobStatus:
        job, failure = active.job, Failure.of(error)
        log.warning("job_failed", job=job.id, item=job.item_id, error=str(error), retry=retry)
        try:
            if not retry:
                await self._announcer.job_failed(job, error)
            active.over = True
            await self._queue.fail(job.id, failure, retry, self._backoff(job.attempts - 1))
        except EyecatchError as unavailable:  # the job stays RUNNING until its lease ends
            log.warning("queue_unavailable", error=str(unavailable))
        return JobStatus(job, JobState.QUEUED if retry else JobState.FAILED, (), failure)
