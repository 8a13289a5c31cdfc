"""What the tests of ingest share: events as records, and an ingest on a real broker and a real store."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from eyecatch.core.types import Event, Profile
from eyecatch.messages import event_to_wire
from eyecatch.reader_config import IngestConfig
from eyecatch.wiring.ingest import Ingest, ingesting

from tests.broker import Broker
from tests.waiting import until


def record(*events: Event) -> list[tuple[bytes, bytes]]:
    """Each as (key, value)."""
    return [(e.user_id.encode(), event_to_wire(e).SerializeToString()) for e in events]


def settings(kafka: Broker, topic: str, folder: Path, **more: object) -> IngestConfig:
    """Of an ingest that joins a group of its own in a second and looks at its topic five times a second."""
    where = {"kafka": kafka.address, "events_topic": topic, "group": topic, "data_dir": str(folder), "health_port": 0}
    quick = {"session_s": 1.0, "check_s": 0.2, "kafka_timeout_s": 2.0, "give_up_s": 60.0, "drain_s": 5.0}
    return IngestConfig(**where | quick | more)  # type: ignore[arg-type]


@pytest.fixture
def topic(kafka: Broker) -> str:
    return kafka.create()


async def count(running: Ingest, *users: str) -> int:
    """Events absorbed of these users."""
    profiles: Sequence[Profile | None] = [await running.profiles.profile(user) for user in users]
    return sum(profile.event_count for profile in profiles if profile)


def value(running: Ingest, name: str, **labels: str) -> int:
    """Of a metric, 0 while it has none."""
    return int(running.metrics.registry.get_sample_value(f"eyecatch_ingest_{name}", labels) or 0)


def absorbed(running: Ingest) -> tuple[int, int]:
    """Events that this process found new, and known."""
    return value(running, "events_total", outcome="new"), value(running, "events_total", outcome="known")


@asynccontextmanager
async def until_absorbed(config: IngestConfig, users: Sequence[str], events: int) -> AsyncIterator[Ingest]:
    """An ingest that has absorbed so many events of these users."""
    async with ingesting(config) as running:

        async def there() -> bool:
            if running.work.done():
                running.work.result()
            return await count(running, *users) >= events

        await until(there, f"{events} events")
        yield running
