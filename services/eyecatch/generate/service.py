"""The Generation port: request, watch and cancel jobs; and background requests for thin pools. Knows no wire."""

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import replace

import structlog
from cachetools import TTLCache

from eyecatch.core.errors import EyecatchError, NotFound, NotReady, Unavailable
from eyecatch.core.failures import GONE
from eyecatch.core.ports import Clock, JobQueue, Progress
from eyecatch.core.tastes.clusters import Tastes
from eyecatch.core.types import BACKGROUND, Job, JobStatus, Vector
from eyecatch.generate.hub import FINAL, Hub
from eyecatch.generate.worker import Worker, away

log = structlog.get_logger(__name__)

# A thin pool is not requested again within this time, even if its job failed.
ASK_AGAIN_S, RECENT_KEYS = 3600.0, 100_000


class GenerationService:
    """The Generation port on a queue, and on the worker of this process if it has one."""

    def __init__(
        self,
        queue: JobQueue,
        worker: Worker | None,
        hub: Hub,
        tastes: Tastes,
        clock: Clock,
        background: bool = True,
        waiting_max: int = 256,
        making: bool = True,
    ) -> None:
        self._queue, self._worker, self._hub, self._tastes = queue, worker, hub, tastes
        self._background, self._making = background and making, making
        self._thin: deque[Job] = deque()
        self._recent: TTLCache[str, bool] = TTLCache(RECENT_KEYS, ASK_AGAIN_S)
        self._cancelling: set[asyncio.Task[None]] = set()
        self._putting: dict[str, asyncio.Task[JobStatus]] = {}
        self._waiting_max, self._clock = waiting_max, clock
        self._added = asyncio.Event()

    async def request(self, job: Job) -> JobStatus:
        if not self._making:
            raise NotReady("this server makes no covers (made_covers=off); allowed: review, trial or trusted")
        # A put whose caller goes away may still reach the store, so it runs to its end, after which the job can be cancelled.
        put = self._putting[job.id] = asyncio.ensure_future(self._queue.put(replace(job, created_at=self._clock())))
        put.add_done_callback(lambda _: self._putting.pop(job.id, None))
        status = await asyncio.shield(put)
        if self._worker is not None:
            self._worker.wake()
        return status

    async def watch(self, job_id: str) -> AsyncGenerator[Progress | JobStatus]:
        with self._hub.subscribe(job_id) as news:
            current = (await self._queue.progress([job_id])).get(job_id)
            if current is None:
                raise NotFound("job", job_id)
            yield current
            if isinstance(current, JobStatus):
                return
            if self._worker is not None and not await self._worker.can_draw():
                raise away()
            async for latest in news:
                if isinstance(latest, Unavailable):
                    raise latest
                if isinstance(latest, Progress):
                    yield latest
                elif latest.state in FINAL:
                    yield latest
                    return

    async def cancel(self, job_id: str) -> None:
        if self._hub.watching(job_id) == 0:
            # The caller's task is being cancelled, so this needs a task of its own.
            task = asyncio.ensure_future(self._cancel(job_id))
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)

    async def _cancel(self, job_id: str) -> None:
        if put := self._putting.get(job_id):
            await asyncio.wait([put])
        try:
            await self._queue.cancel(job_id, GONE)
        except EyecatchError as error:
            log.warning("queue_unavailable", error=str(error))
        if self._worker is not None:
            self._worker.drop(job_id)

    def on_thin(self, item_id: str, user: Vector) -> bool:
        """Request a cover for a thin pool without waiting, at most once an hour for an item and taste cluster.

        The cover is made for the cluster's centroid: it serves all users near it and reveals nothing of this user.
        """
        if not self._background:
            return True
        clusters = self._tastes.current
        taste = clusters.of(user)
        key = f"{BACKGROUND}{item_id}/{clusters.name}/{taste}"
        if key in self._recent:
            return True
        if len(self._thin) >= self._waiting_max:
            return False
        self._recent[key] = True
        centroid = tuple(clusters.centroids[taste].tolist()) if taste >= 0 else ()
        self._thin.append(Job(uuid.uuid4().hex, key, item_id, centroid, taste, count=1))
        self._added.set()
        return True

    async def run_background(self) -> None:
        """Put requests for thin pools into the queue until cancelled."""
        while True:
            await self._added.wait()
            self._added.clear()
            while self._thin:
                job = self._thin[0]
                try:
                    await self.request(replace(job, seed=int(job.id[:8], 16)))
                except EyecatchError as error:
                    log.warning("background_generation_refused", item=job.item_id, error=str(error))
                    self._recent.pop(job.key, None)  # a later recommendation may ask again
                self._thin.popleft()
