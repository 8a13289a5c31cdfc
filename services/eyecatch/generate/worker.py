"""The worker: takes a job, makes its covers, keeps what is good, stores blobs, records and pool. Idempotent and restartable.

Cover ids are derived from job and seed, so a job run twice after a crash replaces its own covers instead of adding more.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence

import numpy as np
import structlog

from eyecatch.core.errors import CALLER_GONE, Cancelled, EyecatchError, InvalidInput, NotFound, Unavailable
from eyecatch.core.ports import Blobs, Brief, CatalogStore, CoverIndex, Generator, JobQueue, Made, Progress
from eyecatch.core.types import Cover, Item, Job, JobState, JobStatus, Origin, Provenance, Vector, zeros
from eyecatch.generate.hub import Hub

log = structlog.get_logger(__name__)

BATCH = 4
MAX_REFERENCES = 2
MAX_ATTEMPTS = 3


def cover_id(job: Job, seed: int) -> str:
    return hashlib.sha256(f"{job.id}/{seed}".encode()).hexdigest()[:24]


class Worker:
    """One job at a time: the model, not the worker, is where parallelism pays."""

    def __init__(
        self,
        queue: JobQueue,
        catalog: CatalogStore,
        blobs: Blobs,
        generator: Generator,
        index: CoverIndex,
        hub: Hub,
        on_pool_change: Callable[[Sequence[str]], None],
        pool_size: int = 16,
        retry_delay_s: float = 1.0,
    ) -> None:
        self._queue, self._catalog, self._blobs, self._generator = queue, catalog, blobs, generator
        self._index, self._hub, self._on_pool_change = index, hub, on_pool_change
        self._pool_size = pool_size
        self._retry_delay_s = retry_delay_s
        self._wake = asyncio.Event()
        self._running: tuple[str, asyncio.Task[list[str]]] | None = None
        self._cancelled: set[str] = set()

    def wake(self) -> None:
        self._wake.set()

    def cancel(self, job_id: str) -> None:
        self._cancelled.add(job_id)
        if self._running and self._running[0] == job_id:
            self._running[1].cancel()

    async def run(self) -> None:
        """Serve the queue until cancelled. A job interrupted by our own end goes back to the queue at the next start."""
        while True:
            self._wake.clear()
            try:
                job = await self._queue.take()
            except Unavailable as error:
                log.warning("queue_unavailable", error=str(error))
                await asyncio.sleep(self._retry_delay_s)
                continue
            if job is None:
                await self._wake.wait()
            else:
                await self.run_job(job)

    async def run_job(self, job: Job) -> None:
        """Run one taken job to its end and tell its watchers."""
        task = asyncio.ensure_future(self._make(job))
        self._running = (job.id, task)
        started = time.perf_counter()
        try:
            if job.id in self._cancelled:
                task.cancel()
            cover_ids = await task
            await self._queue.finish(job.id, cover_ids)
            status = JobStatus(job, JobState.DONE, tuple(cover_ids))
            log.info(
                "covers_made",
                job=job.id,
                item=job.item_id,
                covers=len(cover_ids),
                seconds=round(time.perf_counter() - started, 2),
            )
        except asyncio.CancelledError:
            if job.id not in self._cancelled:
                task.cancel()
                raise
            status = await self._failed(job, Cancelled(CALLER_GONE), retry=False)
        except Unavailable as error:
            status = await self._failed(job, error, retry=job.attempts < MAX_ATTEMPTS)
        except EyecatchError as error:
            status = await self._failed(job, error, retry=False)
        except Exception as error:
            log.error("job_broke", job=job.id, item=job.item_id, exc_info=error)
            status = await self._failed(
                job, EyecatchError("internal error; the server's log has the details"), retry=False
            )
        finally:
            self._running = None
            self._cancelled.discard(job.id)
        self._hub.tell(job.id, status)

    async def _failed(self, job: Job, error: EyecatchError, retry: bool) -> JobStatus:
        log.warning("job_failed", job=job.id, item=job.item_id, error=str(error), retry=retry)
        try:
            await self._queue.fail(job.id, str(error), retry)
        except Unavailable as unavailable:  # the job stays RUNNING in the store and is recovered at the next start
            log.warning("queue_unavailable", error=str(unavailable))
        if retry:
            await asyncio.sleep(self._retry_delay_s * 2 ** (job.attempts - 1))
        return JobStatus(job, JobState.QUEUED if retry else JobState.FAILED, (), str(error))

    async def _make(self, job: Job) -> list[str]:
        item = await self._catalog.item(job.item_id)
        if item is None:
            raise NotFound("item", job.item_id)
        references = tuple([await self._blobs.get(uri) for uri in item.references[:MAX_REFERENCES]])
        user: Vector = np.array(job.user_embedding, np.float32) if job.user_embedding else zeros()
        loop = asyncio.get_running_loop()
        made: list[Made] = []
        for first in range(0, job.count, BATCH):
            done = first
            briefs = [
                Brief(item.title, references, user, job.seed + i, job.steps, job.strength, job.reference_strength)
                for i in range(first, min(first + BATCH, job.count))
            ]

            def on_step(step: int, total: int, done: int = done) -> None:
                batches = -(-job.count // BATCH)
                news = Progress(0, done // BATCH * total + step, batches * total)
                loop.call_soon_threadsafe(self._hub.tell, job.id, news)

            made += await self._generator.generate(briefs, on_step)
        ids = await self._keep(job, item, made)
        if job.made_for and await self._queue.status(job.id) is None:
            # The user was forgotten while we drew; whoever did it may have looked for covers before there were any.
            await self._remove(ids)
            self._on_pool_change([item.id])
            raise NotFound("job", job.id)
        return ids

    async def _keep(self, job: Job, item: Item, made: Sequence[Made]) -> list[str]:
        bad = [
            m.seed for m in made if not np.isfinite(m.embedding).all() or not all(np.isfinite(list(m.rewards.values())))
        ]
        if bad:
            raise InvalidInput.of("generator.rewards", f"not finite for seeds {bad}", "finite numbers")
        covers = [
            Cover(
                id=cover_id(job, m.seed),
                item_id=item.id,
                uri=await self._blobs.put(m.image, m.suffix),
                embedding=m.embedding,
                rewards=m.rewards,
                provenance=Provenance(
                    Origin.GENERATED,
                    m.model,
                    m.adapter,
                    m.seed,
                    m.steps,
                    job.strength,
                    m.brief_digest,
                    job.id,
                    job.made_for,
                ),
                width=m.width,
                height=m.height,
                taste=job.taste,
                created_at=time.time(),
            )
            for m in made
        ]
        await self._catalog.add_covers(covers)
        self._index.add([c.id for c in covers], np.stack([c.embedding for c in covers]))
        await self._trim(item.id, {c.id for c in covers})
        self._on_pool_change([item.id])
        return [c.id for c in covers]

    async def _trim(self, item_id: str, new: set[str]) -> None:
        """Keep the pool within its size: the oldest generated covers go first, catalogue covers and the newest never."""
        pool = (await self._catalog.pools([item_id])).get(item_id, ())
        old = [c for c in pool if c.provenance.origin is Origin.GENERATED and c.id not in new]
        surplus = [c.id for c in old[: max(0, len(pool) - self._pool_size)]]
        if surplus:
            await self._remove(surplus)

    async def _remove(self, cover_ids: Sequence[str]) -> None:
        self._index.remove(cover_ids)
        for uri in await self._catalog.remove_covers(cover_ids):
            await self._blobs.delete(uri)
