"""Follows other processes: the progress and ends of watched jobs, and items whose pools changed."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from eyecatch.core.errors import EyecatchError, NotFound
from eyecatch.core.failures import Failure
from eyecatch.core.ports import JobQueue, Progress, SharedQueue
from eyecatch.core.types import Job, JobState, JobStatus
from eyecatch.generate.hub import Hub

log = structlog.get_logger(__name__)

POLL_S = 0.25

OnChange = Callable[[Collection[str] | None], Awaitable[None]]
"""Called with the items whose pools changed, or None if they are too many to list."""


class Follower:
    """Polls POLL_S after each answer. `local_jobs`: ids of jobs in this process, which report their progress themselves."""

    def __init__(
        self,
        queue: JobQueue,
        hub: Hub,
        local_jobs: Callable[[], set[str]],
        shared: SharedQueue | None,
        on_change: OnChange,
    ) -> None:
        self._queue, self._hub, self._local_jobs = queue, hub, local_jobs
        self._shared, self._on_change = shared, on_change

    async def run(self) -> None:
        after, unavailable = -1, False
        while True:
            try:
                await self._poll()
                if self._shared is not None:
                    after, items = await self._shared.changed(after)
                    if items is None or items:
                        await self._on_change(items)
                unavailable = False
            except EyecatchError as error:
                if not unavailable:
                    log.warning("queue_unavailable", error=str(error))
                unavailable = True
            await asyncio.sleep(POLL_S)

    async def _poll(self) -> None:
        watched = self._hub.watched
        progress = await self._queue.progress(watched) if watched else {}
        for job_id in watched:
            forgotten = JobStatus(Job(job_id, "", ""), JobState.FAILED, (), Failure.of(NotFound("job", job_id)))
            news = progress.get(job_id, forgotten)
            if not (isinstance(news, Progress) and job_id in self._local_jobs()):
                self._hub.publish(job_id, news)
