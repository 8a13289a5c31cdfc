"""A generator that is away with a full line: jobs wait and lose no try, /health and the metrics say so, and all are drawn afterwards."""

import time

import pytest
from eyecatch.core.backoff import Backoff
from eyecatch.core.types import Item, Job
from eyecatch.reader_config import GenerateConfig

from tests.fakes import FakeGenerator
from tests.faults.table import Row, Table
from tests.unit.generate.conftest import over, value, worker_config, working
from tests.unit.observe.test_page import get
from tests.waiting import until

__all__ = ["worker_config"]
JOBS = 10


async def test_the_line_waits(worker_config: GenerateConfig, monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    monkeypatch.setattr("eyecatch.generate.worker.LOOK", Backoff(0.01, 0.01))
    generator = FakeGenerator()
    generator.there = False
    async with working(worker_config, generator) as (running, _):
        await running.stores.catalog.upsert_items([Item("a", "A")])
        for n in range(JOBS):
            await running.queue.put(Job(f"j{n}", f"j{n}", "a", created_at=1.0))
        await until(lambda: "generator" in running.health.text(), "its trouble")
        assert "generator: does not answer; jobs wait" in get(running.health_port, "/health")[1]
        await until(lambda: value(running, "oldest_waiting_seconds") > 1e9, "the age of the line")
        generator.there, mended = True, time.monotonic()
        statuses = await over(running, *(f"j{n}" for n in range(JOBS)))
        assert {status.job.attempts for status in statuses.values()} == {1}
        assert value(running, "jobs_total", outcome="done") == JOBS
        assert "generator" not in running.health.text()
        lost = JOBS - value(running, "jobs_total", outcome="done")
        twice = sum(status.job.attempts > 1 for status in statuses.values())
        expected = "the line waits, no job loses a try, health says so"
        table.add("the generator is away", Row(expected, f"{JOBS} jobs", lost, twice, time.monotonic() - mended))
