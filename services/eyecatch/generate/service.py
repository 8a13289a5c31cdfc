"""Generation as callers see it: request, watch, cancel; and the background requests that thin pools make. Knows no wire."""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import replace

import structlog

from eyecatch.core.clusters import Tastes
from eyecatch.core.errors import NotFound, Overloaded, Unavailable
from eyecatch.core.ports import JobQueue, Progress
from eyecatch.core.types import Job, JobState, JobStatus, Vector
from eyecatch.generate.hub import Hub
from eyecatch.generate.worker import Worker

log = structlog.get_logger(__name__)

FINAL = (JobState.DONE, JobState.FAILED)


class GenerationService:
    """The Generation port over a queue and a worker in this process."""

    def __init__(
        self,
        queue: JobQueue,
        worker: Worker,
        hub: Hub,
        tastes: Tastes,
        background: bool = True,
        waiting_max: int = 256,
    ) -> None:
        self._queue, self._worker, self._hub, self._tastes = queue, worker, hub, tastes
        self._background = background
        self._thin: OrderedDict[str, Job] = OrderedDict()
        self._asked: OrderedDict[str, None] = OrderedDict()
        self._waiting_max = waiting_max
        self._some = asyncio.Event()

    async def request(self, job: Job) -> JobStatus:
        status = await self._queue.put(job)
        self._worker.wake()
        return status

    async def watch(self, job_id: str) -> AsyncIterator[Progress | JobStatus]:
        with self._hub.subscribe(job_id) as news:
            status = await self._queue.status(job_id)
            if status is None:
                raise NotFound("job", job_id)
            if status.state in FINAL:
                yield status
                return
            yield Progress(await self._queue.waiting() if status.state is JobState.QUEUED else 0)
            async for latest in news:
                if isinstance(latest, Progress):
                    yield latest
                elif latest.state in FINAL:
                    yield latest
                    return

    async def cancel(self, job_id: str) -> None:
        if self._hub.watching(job_id) == 0:
            self._worker.cancel(job_id)

    def on_thin(self, item_id: str, user: Vector) -> bool:
        """The fast path found a thin pool: remember it, at most once per (item, taste cluster), without waiting.

        The covers are made for the cluster's centroid: they are everybody's near it and no trace of this user.
        """
        if not self._background:
            return True
        clusters = self._tastes.current
        taste = clusters.of(user)
        key = f"thin/{item_id}/{clusters.name}/{taste}"
        if key in self._asked:
            return True
        if len(self._thin) >= self._waiting_max:
            return False
        self._asked[key] = None
        if len(self._asked) > 100_000:
            self._asked.popitem(last=False)
        centroid = tuple(clusters.centroids[taste].tolist()) if taste >= 0 else ()
        self._thin[key] = Job(uuid.uuid4().hex, key, item_id, centroid, taste, count=1)
        self._some.set()
        return True

    async def run_background(self) -> None:
        """Move what thin pools asked for into the queue until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._thin:
                key, job = next(iter(self._thin.items()))
                try:
                    await self.request(replace(job, seed=int(job.id[:8], 16)))
                except (Overloaded, Unavailable) as error:
                    log.warning("background_generation_refused", item=job.item_id, error=str(error))
                    self._asked.pop(key, None)  # a later recommendation may ask again
                del self._thin[key]
