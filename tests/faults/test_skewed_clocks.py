"""Four processes of one store, each with a clock that is two hours wrong: no job is lost or drawn twice, no event refused."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
from eyecatch.core.types import Item, Job, JobState, JobStatus
from eyecatch.reader_config import GenerateConfig
from eyecatch.stores.redis import RedisStore
from eyecatch.v1 import behavior_pb2, behavior_pb2_grpc

from tests.broker import Broker
from tests.contracts.builders import event as core_event
from tests.faults.table import Row, Table
from tests.processes import owned
from tests.servers import RedisServer
from tests.unit.api.conftest import event
from tests.unit.generate.conftest import worker_config
from tests.unit.ingest.helpers import record
from tests.waiting import until

__all__ = ["worker_config"]
AHEAD, BEHIND = "7200", "-7200"
JOBS = 24


@contextmanager
def process(shift: str, module: str, *args: str) -> Iterator[str]:
    """A process with a wrong clock; yields the last word of its first line."""
    command = owned(sys.executable, "-m", "tests.faults.shifted", shift, module, *args)
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = running.stdout.readline() if running.stdout else ""
        assert line.strip(), running.communicate()
        yield line.split()[-1]
    finally:
        running.kill()
        running.communicate()


async def test_workers_draw_each_job_once(worker_config: GenerateConfig, table: Table) -> None:
    settings = json.dumps({name: value for name, value in vars(worker_config).items() if value is not None})
    store = await RedisStore.open(worker_config.store)
    ids = [f"j{n}" for n in range(JOBS)]
    with ExitStack() as stack:
        for shift in (AHEAD, BEHIND):
            stack.enter_context(process(shift, "tests.e2e.tiny_worker", settings))
        await store.catalog.upsert_items([Item(id, "A") for id in ids])
        for id in ids:
            await store.queue.put(Job(id, id, id))

        async def statuses() -> list[JobStatus]:
            return [status for id in ids if (status := await store.queue.status(id))]

        async def all_over() -> bool:
            return all(status.state in (JobState.DONE, JobState.FAILED) for status in await statuses())

        await until(all_over, "the end of the jobs")
        over = await statuses()
        assert {(status.state, status.job.attempts) for status in over} == {(JobState.DONE, 1)}
        lost = sum(status.state is JobState.FAILED for status in over)
        twice = sum(status.job.attempts > 1 for status in over)
        row = Row("each job is drawn once", f"{JOBS} jobs", lost, twice)
        table.add("clocks of two workers are two hours ahead and behind", row)
    await store.close()


@pytest.mark.parametrize("shift", [AHEAD, BEHIND])
async def test_a_server_judges_events_by_the_clock_of_the_store(
    shift: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.client.flushall()
    flags = ("--store", redis_server.url, "--data-dir", str(tmp_path), "--port", "0", "--no-preload")
    now = int(time.time())
    with process(shift, "eyecatch.cli", "serve", *flags) as address:
        async with grpc.aio.insecure_channel(address) as channel:
            behavior = behavior_pb2_grpc.BehaviorServiceStub(channel)
            current = event("now", "mia", "a", time=now)
            await behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=[current]))
            later = event("later", "mia", "a", time=now + 90 * 60)
            with pytest.raises(grpc.aio.AioRpcError, match="one hour ahead"):
                await behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=[later]))


async def test_ingest_judges_events_by_the_clock_of_the_store(
    kafka: Broker, topic: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.client.flushall()
    store = await RedisStore.open(redis_server.url)
    flags = ("--kafka", kafka.address, "--events-topic", topic, "--group", topic, "--store", redis_server.url)
    kafka.produce(topic, record(*(core_event(f"e{n}", user="mia", time=time.time()) for n in range(5))))
    with process(BEHIND, "eyecatch.cli", "ingest", *flags, "--data-dir", str(tmp_path), "--health-port", "0"):

        async def absorbed() -> bool:
            profile = await store.profiles.profile("mia")
            return profile is not None and profile.event_count == 5

        await until(absorbed, "the events")
    await store.close()
