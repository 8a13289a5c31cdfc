"""What other processes do, brought to this one: progress and ends of watched jobs, and items whose pools changed."""

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
"""Gets the items whose pools changed, or None if they were too many to list."""


class Follower:
    """Polls POLL_S after the last answer. `here`: jobs at work in this process, which report their progress themselves."""

    def __init__(
        self, queue: JobQueue, hub: Hub, here: Callable[[], set[str]], shared: SharedQueue | None, on_change: OnChange
    ) -> None:
        self._queue, self._hub, self._here = queue, hub, here
        self._shared, self._on_change = shared, on_change

    async def run(self) -> None:
        after, away = -1, False
        while True:
            try:
                await self._look()
                if self._shared is not None:
                    after, items = await self._shared.changed(after)
                    if items is None or items:
                        await self._on_change(items)
                away = False
            except EyecatchError as error:
                if not away:
                    log.warning("queue_unavailable", error=str(error))
                away = True
            await asyncio.sleep(POLL_S)

    async def _look(self) -> None:
        watched = self._hub.watched
        found = await self._queue.look(watched) if watched else {}
        for job_id in watched:
            forgotten = JobStatus(Job(job_id, "", ""), JobState.FAILED, (), Failure.of(NotFound("job", job_id)))
            news = found.get(job_id, forgotten)
            if not (isinstance(news, Progress) and job_id in self._here()):
                self._hub.tell(job_id, news)
