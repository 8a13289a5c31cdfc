"""A Redis that comes back empty or older than the committed offsets: ingest stops and says how to go on, and a rewind restores all."""

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from eyecatch.core.errors import StoreLost
from eyecatch.core.types import Event, Profile
from eyecatch.reader_config import IngestConfig
from eyecatch.wiring.ingest import ingesting, rewind

from tests.broker import Broker
from tests.contracts.builders import event
from tests.e2e.conftest import run, run_json
from tests.faults.table import Row, Table
from tests.servers import RedisServer, running
from tests.unit.ingest.helpers import count, record, settings, until_absorbed
from tests.waiting import until

USERS = [f"u{n}" for n in range(5)]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """Of this test alone, with every write on disk."""
    with running("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
def config(kafka: Broker, topic: str, redis: RedisServer, tmp_path: Path) -> IngestConfig:
    return settings(kafka, topic, tmp_path, store=redis.url)


def events(first: int, last: int) -> list[Event]:
    return [event(f"{user}-{n}", user=user, time=1e9 + n) for n in range(first, last) for user in USERS]


async def absorb(kafka: Broker, config: IngestConfig, first: int, last: int) -> list[dict[str, Any]]:
    """Send these events and absorb them; returns the profiles then."""
    kafka.produce(config.events_topic, record(*events(first, last)))
    return await profiles(config, last)


async def profiles(config: IngestConfig, last: int) -> list[dict[str, Any]]:
    async with until_absorbed(config, USERS, last * len(USERS)) as reader:
        return [without_time(await reader.profiles.profile(user)) for user in USERS]


def without_time(profile: Profile | None) -> dict[str, Any]:
    """All of a profile but when it was written; the bits of its embedding."""
    assert profile is not None
    return asdict(replace(profile, updated_at=0.0)) | {"embedding": profile.embedding.tobytes()}


async def ends(config: IngestConfig) -> str:
    """How an ingest of these settings ends by itself."""
    async with ingesting(config) as reader:
        await until(reader.work.done, "its end")
        with pytest.raises(StoreLost) as lost:
            reader.work.result()
    return str(lost.value)


def cut(redis: RedisServer, size: int) -> None:
    """Let Redis start again from the first `size` bytes of what it wrote."""
    redis.kill()
    with Path(redis._folder, "appendonly.aof").open("r+b") as file:
        file.truncate(size)
    redis.start()


async def test_an_older_store_is_noticed_and_read_up_to_date(
    kafka: Broker, config: IngestConfig, redis: RedisServer, table: Table
) -> None:
    await absorb(kafka, config, 0, 10)
    size = Path(redis._folder, "appendonly.aof").stat().st_size
    await absorb(kafka, config, 10, 20)
    cut(redis, size)
    kafka.produce(config.events_topic, record(*events(20, 21)))
    message = await ends(config)
    assert "eyecatch ingest rewind --to-store" in message
    assert "ends at offset" in message
    flags = {name: getattr(config, name) for name in ("kafka", "events_topic", "group", "store", "data_dir")}
    options = [text for name, value in flags.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    moves = run_json("ingest", "rewind", "--to-store", *options)
    assert [(move["before"], move["after"]) for move in moves] == [(100, 50)]
    await restored(config, 21, table, "Redis comes back older (its AOF cut back)")


async def restored(config: IngestConfig, last: int, table: Table, fault: str) -> None:
    """After a rewind the profiles are those of a store that lost nothing, bit by bit."""
    begin = time.monotonic()
    after = await profiles(config, last)
    seconds = time.monotonic() - begin
    expected = await clean(config, last)
    assert after == expected
    differences = [a["event_count"] - b["event_count"] for a, b in zip(after, expected, strict=True)]
    lost, twice = -sum(min(d, 0) for d in differences), sum(max(d, 0) for d in differences)
    says = "ingest stops and names the rewind, after which all is there"
    table.add(fault, Row(says, f"as expected, {len(USERS)} profiles bit-equal", lost, twice, seconds))


async def clean(config: IngestConfig, last: int) -> list[dict[str, Any]]:
    """The profiles of a store that lost nothing."""
    with running() as other:
        return await profiles(replace(config, store=other.url, group=f"{config.group}-clean"), last)


async def test_an_emptied_store_is_noticed_by_a_running_ingest(
    kafka: Broker, config: IngestConfig, redis: RedisServer, table: Table
) -> None:
    kafka.produce(config.events_topic, record(*events(0, 10)))
    async with until_absorbed(config, USERS, 10 * len(USERS)) as reader:
        redis.client.flushall()
        kafka.produce(config.events_topic, record(*events(10, 11)))
        await until(reader.work.done, "its end")
        with pytest.raises(StoreLost, match=r"is empty; `eyecatch ingest rewind --to-store`"):
            reader.work.result()
    await rewind(config)
    await restored(config, 11, table, "Redis is emptied under a running ingest")


async def test_a_rewind_of_a_store_that_lost_nothing_moves_nothing(
    kafka: Broker, config: IngestConfig, redis: RedisServer
) -> None:
    await absorb(kafka, config, 0, 3)
    assert await rewind(config) == []


async def test_a_store_of_the_version_before_is_read_on(
    kafka: Broker, config: IngestConfig, redis: RedisServer
) -> None:
    await absorb(kafka, config, 0, 3)
    for key in redis.client.keys("ec:note:absorbed/*"):
        redis.client.delete(key)
    kafka.produce(config.events_topic, record(*events(3, 4)))
    async with until_absorbed(config, USERS, 4 * len(USERS)) as reader:
        assert await count(reader, *USERS) == 4 * len(USERS)


def test_a_rewind_without_a_place_is_one_line() -> None:
    done = run("ingest", "rewind", check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "error: rewind: got no place; allowed: --to-store"
