"""A store that stops, loses writes or is set to delete some: health tells, and what can be answered is answered."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from eyecatch.core.errors import StoreLost
from eyecatch.stores.redis import RedisStore, keys
from eyecatch.stores.redis.life import problems
from eyecatch.v1 import covers_pb2
from eyecatch.wiring.ingest import ingesting
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.broker import Broker
from tests.faults.conftest import serving
from tests.faults.table import Row, Table
from tests.servers import RedisServer, running
from tests.unit.api.conftest import Api
from tests.unit.ingest.helpers import settings
from tests.unit.observe.test_page import get
from tests.waiting import until

State = health_pb2.HealthCheckResponse


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyecatch.upkeep.store_watch.EVERY_S", 0.05)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """Of this test alone."""
    with running("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


async def state(api: Api, part: str) -> int:
    try:
        request = health_pb2.HealthCheckRequest(service=part)
        return int((await health_pb2_grpc.HealthStub(api.channel).Check(request)).status)
    except grpc.aio.AioRpcError:  # the first look is yet to come
        return int(State.UNKNOWN)


async def reaches(api: Api, part: str, wanted_state: int) -> None:
    async def there() -> bool:
        return await state(api, part) == wanted_state

    await until(there, f"the state of {part}")


async def test_a_server_whose_store_is_emptied_says_so_and_answers(redis: RedisServer, tmp_path: Path) -> None:
    async with serving(redis.url, tmp_path, preload=False) as api:
        await api.put("a", "red")
        recommend = covers_pb2.RecommendCoversRequest(item_ids=["a"])
        await api.covers.RecommendCovers(recommend)
        await reaches(api, "eyecatch.personalisation", State.SERVING)
        redis.client.flushall()
        await reaches(api, "eyecatch.personalisation", State.NOT_SERVING)
        assert "came back empty or older" in api.app.health.text()
        assert (await api.covers.RecommendCovers(recommend)).items[0].covers
        assert await state(api, "") == State.SERVING


async def test_an_older_store_is_noticed(redis: RedisServer) -> None:
    store = await RedisStore.open(redis.url)
    for _ in range(3):
        await store.life.beat()
    redis.client.hset(keys.LIFE, "pulse", 1)
    with pytest.raises(StoreLost):
        await store.life.beat()
    await store.life.beat()
    await store.close()


async def test_health_of_a_server_tells_a_dead_store(redis: RedisServer, tmp_path: Path, table: Table) -> None:
    async with serving(redis.url, tmp_path, preload=False) as api:
        await reaches(api, "eyecatch.store", State.SERVING)
        redis.kill()
        await reaches(api, "eyecatch.store", State.NOT_SERVING)
        redis.start()
        mended = time.monotonic()
        await reaches(api, "eyecatch.store", State.SERVING)
        row = Row("health tells it", "as expected, looking 20 times a second", seconds=time.monotonic() - mended)
        table.add("Redis is dead: server", row)


async def test_health_of_an_idle_ingest_tells_a_dead_store(
    kafka: Broker, topic: str, redis: RedisServer, tmp_path: Path
) -> None:
    async with ingesting(settings(kafka, topic, tmp_path, store=redis.url)) as reader:
        await until(lambda: reader.health.serving, "its start")
        redis.kill()
        await until(lambda: get(reader.health_port, "/health")[0] == 503, "its trouble")
        redis.start()
        await until(lambda: get(reader.health_port, "/health")[0] == 200, "its end")


async def test_an_eviction_policy_that_deletes_profiles_is_told(redis: RedisServer, tmp_path: Path) -> None:
    async with serving(redis.url, tmp_path, preload=False) as api:
        redis.client.config_set("maxmemory", "200mb")
        redis.client.config_set("maxmemory-policy", "allkeys-lru")
        await until(lambda: "maxmemory-policy allkeys-lru deletes profiles" in api.app.health.text(), "its trouble")
        redis.client.config_set("maxmemory-policy", "noeviction")
        await until(lambda: api.app.health.serving, "its end")


@pytest.mark.parametrize(
    ("info", "texts"),
    [
        ({"maxmemory": 100, "used_memory": 50, "maxmemory_policy": "noeviction"}, 0),
        ({"maxmemory": 0, "used_memory": 50, "maxmemory_policy": "allkeys-lru"}, 0),
        ({"maxmemory": 100, "used_memory": 95, "maxmemory_policy": "noeviction"}, 1),
        ({"maxmemory": 100, "used_memory": 95, "maxmemory_policy": "volatile-ttl"}, 2),
    ],
)
def test_settings_that_lose_data_are_named(info: dict[str, object], texts: int) -> None:
    assert len(problems(info)) == texts
