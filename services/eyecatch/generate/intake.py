"""Records of the topic of requests -> the queue or the dead letters; then their offsets may be committed. Knows no Kafka client."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from eyecatch.core.errors import Overloaded
from eyecatch.core.ports import SharedQueue
from eyecatch.core.types import Job
from eyecatch.generate.metrics import GenerateMetrics
from eyecatch.generate.requests import decode
from eyecatch.kafka.buffer import Buffer, Chunk
from eyecatch.kafka.dead_letters import dead_letter
from eyecatch.kafka.producer import Outbox
from eyecatch.kafka.records import Poison, Record
from eyecatch.kafka.retry import DEAD_LETTERS, STORE, Retry

log = structlog.get_logger(__name__)

BATCH = 100
FULL_PAUSE_S = 0.5


class Intake:
    """A record is done when the queue has its job; reading it again changes nothing. `accepted` is called for each new job."""

    def __init__(
        self,
        buffer: Buffer,
        done: Callable[[Sequence[Chunk]], None],
        queue: SharedQueue,
        outbox: Outbox,
        topic: str,
        retry: Retry,
        metrics: GenerateMetrics,
        accepted: Callable[[], None],
    ) -> None:
        self._buffer, self._done, self._queue, self._outbox = buffer, done, queue, outbox
        self._topic, self._retry, self._metrics, self._accepted = topic, retry, metrics, accepted

    async def run(self) -> None:
        """Run until the buffer is closed and empty. Raises Unavailable if a server stays unreachable, other errors at once."""
        while chunks := await self._buffer.take(BATCH):
            for chunk in chunks:
                name = f"{chunk.log.name(self._topic)}/{chunk.partition.partition}"
                for record in chunk.records:
                    await self._take(record, f"{name}/{record.offset}")
            self._done(chunks)
            self._metrics.buffered.set(len(self._buffer))

    async def _take(self, record: Record, position: str) -> None:
        job = decode(record, position)
        if isinstance(job, Poison):
            await self._retry(DEAD_LETTERS, partial(self._outbox.send, [dead_letter(record, job)]))
            self._metrics.poison.labels(job.reason).inc()
            log.warning("dead_letter", reason=str(job.reason), place=position)
            return
        new = await self._retry(STORE, partial(self._accept, job, position))
        self._metrics.requests.labels("new" if new else "known").inc()
        if new:
            self._accepted()

    async def _accept(self, job: Job, position: str) -> bool:
        """Waits while the queue is full, so that further requests stay in the topic."""
        while True:
            try:
                return await self._queue.accept(job, position)
            except Overloaded:
                await asyncio.sleep(FULL_PAUSE_S)
