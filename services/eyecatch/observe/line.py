"""Metrics of the line of jobs that wait to be drawn."""

import asyncio
from contextlib import suppress

from prometheus_client import CollectorRegistry, Gauge

from eyecatch.core.errors import EyecatchError
from eyecatch.core.ports import Clock, JobQueue

EVERY_S = 1.0


class Line:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.jobs = Gauge("eyecatch_generate_waiting_jobs", "Jobs that wait to be drawn.", registry=registry)
        text = "Seconds that the oldest waiting job has waited."
        self.oldest_s = Gauge("eyecatch_generate_oldest_waiting_seconds", text, registry=registry)

    async def watch(self, queue: JobQueue, clock: Clock, every_s: float = EVERY_S) -> None:
        """Measure until cancelled."""
        while True:
            with suppress(EyecatchError):  # health says that a store does not answer
                oldest = await queue.oldest()
                self.jobs.set(await queue.waiting())
                self.oldest_s.set(max(0.0, clock() - oldest.created_at) if oldest else 0.0)
            await asyncio.sleep(every_s)
