"""Sends the progress of jobs to their watchers inside one process. Holds only the latest news of each job. Knows no queue."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from eyecatch.core.errors import Unavailable
from eyecatch.core.ports import Progress
from eyecatch.core.types import JobState, JobStatus

News = Progress | JobStatus | Unavailable
FINAL = (JobState.DONE, JobState.FAILED)


class Hub:
    """Watchers wait for an event and read the latest news, so a slow watcher skips steps and no queue grows."""

    def __init__(self) -> None:
        self._latest: dict[str, News] = {}
        self._watchers: dict[str, set[asyncio.Event]] = {}

    def publish(self, job_id: str, news: News) -> None:
        """Call it on the event loop's thread. News of a job without watchers and news after a job's end are dropped."""
        latest = self._latest.get(job_id)
        over = isinstance(latest, JobStatus) and latest.state in FINAL
        if job_id in self._watchers and latest != news and not over:
            self._latest[job_id] = news
            for changed in self._watchers[job_id]:
                changed.set()

    @property
    def watched(self) -> list[str]:
        """Ids of jobs with watchers."""
        return list(self._watchers)

    def watching(self, job_id: str) -> int:
        return len(self._watchers.get(job_id, ()))

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[AsyncIterator[News]]:
        """Subscribe first, then read the stored status of the job, then iterate: then no final news is missed."""
        changed = asyncio.Event()
        self._watchers.setdefault(job_id, set()).add(changed)
        try:
            yield self._news(job_id, changed)
        finally:
            watchers = self._watchers[job_id]
            watchers.discard(changed)
            if not watchers:
                del self._watchers[job_id]
                self._latest.pop(job_id, None)

    async def _news(self, job_id: str, changed: asyncio.Event) -> AsyncIterator[News]:
        while True:
            await changed.wait()
            changed.clear()
            yield self._latest[job_id]
