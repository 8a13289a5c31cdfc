"""Who watches which job: fan-out of progress inside one process, bounded to the latest news of each job. Knows no queue."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from eyecatch.core.ports import Progress
from eyecatch.core.types import JobState, JobStatus

News = Progress | JobStatus
FINAL = (JobState.DONE, JobState.FAILED)


class Hub:
    """Watchers wait on a condition and read the latest news; a slow watcher skips steps and never makes a queue grow."""

    def __init__(self) -> None:
        self._latest: dict[str, News] = {}
        self._watchers: dict[str, set[asyncio.Event]] = {}

    def tell(self, job_id: str, news: News) -> None:
        """To be called on the event loop's thread. News of a job that nobody watches is dropped, and so is news after its end."""
        latest = self._latest.get(job_id)
        over = isinstance(latest, JobStatus) and latest.state in FINAL
        if job_id in self._watchers and latest != news and not over:
            self._latest[job_id] = news
            for changed in self._watchers[job_id]:
                changed.set()

    @property
    def watched(self) -> list[str]:
        """Jobs that somebody watches."""
        return list(self._watchers)

    def watching(self, job_id: str) -> int:
        return len(self._watchers.get(job_id, ()))

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[AsyncIterator[News]]:
        """Register first, read the job's stored status next, then iterate: so no final news can fall between the two."""
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
