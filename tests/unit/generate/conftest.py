"""What the tests of the slow path share: workers on a real broker and a real Redis, and a server that has none of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from eyecatch.config import Config
from eyecatch.core.types import JobState, JobStatus
from eyecatch.reader_config import GenerateConfig
from eyecatch.wiring.generate import Generate, generating
from eyecatch.wiring.serve import application

from tests.broker import Broker
from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator
from tests.servers import RedisServer
from tests.unit.api.conftest import Api
from tests.waiting import until


@pytest.fixture
def worker_config(kafka: Broker, redis_server: RedisServer, tmp_path: Path) -> GenerateConfig:
    """Of a process that joins its group in a second; topic and blobs of its own."""
    redis_server.client.flushall()
    topic = kafka.create(f"requests-{tmp_path.name}")
    return GenerateConfig(
        kafka=kafka.address,
        requests_topic=topic,
        generated_topic=f"{topic}.made",
        group=topic,
        store=redis_server.url,
        data_dir=str(tmp_path),
        session_s=1.0,
        check_s=0.2,
        lease_s=2.0,
        kafka_timeout_s=2.0,
        give_up_s=60.0,
        drain_s=5.0,
        health_port=0,
        made_covers="trusted",
    )


def server_config(config: GenerateConfig) -> Config:
    """Of a server whose covers are made by those workers."""
    return Config(
        kafka=config.kafka,
        requests_topic=config.requests_topic,
        store=config.store,
        blob_url=config.blobs,
        data_dir=config.data_dir,
        kafka_timeout_s=2.0,
        generation="workers",
        port=0,
        exploration=0.0,
        drain_s=0.0,
        profile_cache_s=0.0,
        made_covers="trusted",
    )


@asynccontextmanager
async def serving(config: Config) -> AsyncIterator[Api]:
    generator = FakeGenerator()
    async with (
        application(config, generator, MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        yield Api(app, generator, channel)


@asynccontextmanager
async def working(
    config: GenerateConfig, generator: FakeGenerator | None = None, **more: object
) -> AsyncIterator[tuple[Generate, FakeGenerator]]:
    generator = generator or FakeGenerator()
    async with generating(replace(config, **more), generator) as running:  # type: ignore[arg-type]
        yield running, generator


async def over(running: Generate, *job_ids: str) -> dict[str, JobStatus]:
    """The statuses of these jobs, once all are over."""
    result: dict[str, JobStatus] = {}

    async def all_over() -> bool:
        for id in job_ids:
            status = await running.queue.status(id)
            if status is not None and status.state in (JobState.DONE, JobState.FAILED):
                result[id] = status
        return len(result) == len(job_ids)

    await until(all_over, "the end of the jobs")
    return result


def value(running: Generate, name: str, **labels: str) -> int:
    """Of a metric, 0 while it has none."""
    return int(running.metrics.registry.get_sample_value(f"eyecatch_generate_{name}", labels) or 0)
