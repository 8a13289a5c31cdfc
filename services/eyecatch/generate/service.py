"""Generation as callers see it: request, watch, cancel; and the background requests that thin pools make. Knows no wire."""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import replace

import structlog

from eyecatch.core.errors import EyecatchError, NotFound, NotReady, Overloaded, Unavailable
from eyecatch.core.failures import GONE
from eyecatch.core.ports import JobQueue, Progress
from eyecatch.core.tastes.clusters import Tastes
from eyecatch.core.types import Job, JobStatus, Vector
from eyecatch.generate.hub import FINAL, Hub
from eyecatch.generate.worker import Worker

log = structlog.get_logger(__name__)

# The queue knows what is done; this says how long what was refused is left alone.
ASK_AGAIN_S = 3600.0


class GenerationService:
    """The Generation port over a queue, and a worker where this process has one."""

    def __init__(
        self,
        queue: JobQueue,
        worker: Worker | None,
        hub: Hub,
        tastes: Tastes,
        background: bool = True,
        waiting_max: int = 256,
    ) -> None:
        self._queue, self._worker, self._hub, self._tastes = queue, worker, hub, tastes
        self._background = background
        self._thin: OrderedDict[str, Job] = OrderedDict()
        self._asked: OrderedDict[str, float] = OrderedDict()
        self._cancelling: set[asyncio.Task[None]] = set()
        self._waiting_max = waiting_max
        self._some = asyncio.Event()

    async def request(self, job: Job) -> JobStatus:
        status = await self._queue.put(job)
        if self._worker is not None:
            self._worker.wake()
        return status

    async def watch(self, job_id: str) -> AsyncIterator[Progress | JobStatus]:
        with self._hub.subscribe(job_id) as news:
            stands = (await self._queue.look([job_id])).get(job_id)
            if stands is None:
                raise NotFound("job", job_id)
            yield stands
            if isinstance(stands, JobStatus):
                return
            async for latest in news:
                if isinstance(latest, Progress):
                    yield latest
                elif latest.state in FINAL:
                    yield latest
                    return

    async def cancel(self, job_id: str) -> None:
        if self._hub.watching(job_id) == 0:
            # The caller is being cancelled: what must still be done is not done on its task.
            task = asyncio.ensure_future(self._cancel(job_id))
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)

    async def _cancel(self, job_id: str) -> None:
        try:
            await self._queue.cancel(job_id, GONE)
        except EyecatchError as error:
            log.warning("queue_unavailable", error=str(error))
        if self._worker is not None:
            self._worker.drop(job_id)

    def on_thin(self, item_id: str, user: Vector) -> bool:
        """The fast path found a thin pool: remember it, at most once an hour per (item, taste cluster), without waiting.

        The covers are made for the cluster's centroid: they are everybody's near it and no trace of this user.
        """
        if not self._background:
            return True
        clusters = self._tastes.current
        taste = clusters.of(user)
        key = f"thin/{item_id}/{clusters.name}/{taste}"
        now = time.monotonic()
        if now - self._asked.get(key, -ASK_AGAIN_S) < ASK_AGAIN_S:
            return True
        if len(self._thin) >= self._waiting_max:
            return False
        self._asked[key] = now
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
                except (Overloaded, Unavailable, NotReady) as error:
                    log.warning("background_generation_refused", item=job.item_id, error=str(error))
                    self._asked.pop(key, None)  # a later recommendation may ask again
                del self._thin[key]
