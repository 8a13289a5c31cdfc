"""Every error reply of Redis: the server answers without personalisation, no loop of any process ends, and all goes on afterwards."""

import time
from pathlib import Path

import pytest
from eyecatch.core.backoff import Backoff
from eyecatch.v1 import behavior_pb2, covers_pb2, types_pb2
from eyecatch.wiring.ingest import ingesting

from tests.broker import Broker
from tests.contracts.builders import event as core_event
from tests.faults.conftest import BUSY_LOOPS, serving
from tests.faults.refusing_redis import REPLIES, RefusingRedis, refusing
from tests.faults.table import Row, Table
from tests.servers import RedisServer
from tests.unit.api.conftest import Api, event
from tests.unit.ingest.helpers import count, record, settings
from tests.waiting import until

NAMES = {reply.split()[0]: reply for reply in REPLIES if reply != REPLIES[-2]} | {"UNKNOWN": REPLIES[-2]}
QUICK = ["BUSY", "NOAUTH", "LOADING", "OOM", "UNKNOWN"]
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name not in QUICK]
LIKE = behavior_pb2.RecordEventsRequest(events=[event("e", "mia", "a")])
RECOMMEND = covers_pb2.RecommendCoversRequest(user_id="mia", item_ids=["a"])
SERVER = "answers without personalisation, no task ends"
ENOUGH = 100
"""Refused commands in which every loop of a server has its share."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = Backoff(0.0, 0.01)
    monkeypatch.setattr("eyecatch.stores.redis.link.WAIT", at_once)
    monkeypatch.setattr("eyecatch.kafka.retry.WAIT", at_once)


async def refuse_everything(api: Api, redis: RefusingRedis, reply: str) -> covers_pb2.RecommendCoversResponse:
    """Answers of RecommendCovers until all loops have met the error; returns the last."""
    redis.reply, redis.refusals = reply, 0

    async def met() -> bool:
        await api.covers.RecommendCovers(RECOMMEND)
        return redis.refusals > ENOUGH and api.app.decisions.failing

    await until(met, "the error in every loop")
    return await api.covers.RecommendCovers(RECOMMEND)


@pytest.mark.parametrize("name", QUICK + SLOW)
async def test_a_server_survives(name: str, redis_server: RedisServer, tmp_path: Path, table: Table) -> None:
    redis_server.client.flushall()
    async with refusing(redis_server.port) as redis, serving(redis.url, tmp_path, **BUSY_LOOPS) as api:
        await api.put("a", "red", "blue")
        await api.behavior.RecordEvents(LIKE)
        await until(lambda: well(api), "personalised answers")
        answer = await refuse_everything(api, redis, NAMES[name])
        assert answer.items[0].covers
        assert not answer.personalised
        assert set(answer.degraded) == {
            types_pb2.DEGRADED_PROFILE_UNAVAILABLE,
            types_pb2.DEGRADED_DECISION_NOT_LOGGED,
        }
        assert [task for task in api.app.tasks if task.done()] == []
        redis.reply, mended = "", time.monotonic()
        await until(lambda: well(api), "personalised answers")
        seconds = time.monotonic() - mended
        covers = [news async for news in api.covers.GenerateCovers(covers_pb2.GenerateCoversRequest(item_id="a"))]
        assert covers[-1].HasField("cover"), "its worker goes on too"
    outcome = f"as expected, {len(REPLIES)} kinds of replies"
    table.add("Redis answers every command with an error: server", Row(SERVER, outcome, seconds=seconds))


async def well(api: Api) -> bool:
    answer = await api.covers.RecommendCovers(RECOMMEND)
    return answer.personalised and not answer.degraded


@pytest.mark.parametrize("reply", REPLIES[:2] + REPLIES[-1:], ids=lambda reply: reply.split()[0])
async def test_ingest_waits(
    reply: str, kafka: Broker, topic: str, redis_server: RedisServer, tmp_path: Path, table: Table
) -> None:
    redis_server.client.flushall()
    async with (
        refusing(redis_server.port) as redis,
        ingesting(settings(kafka, topic, tmp_path, store=redis.url)) as running,
    ):
        await until(lambda: running.health.serving, "its start")
        redis.reply = reply
        kafka.produce(topic, record(*(core_event(f"e{n}", user="mia") for n in range(10))))
        await until(lambda: "store" in running.health.text(), "its trouble")
        assert not running.work.done()
        redis.reply, mended = "", time.monotonic()

        async def absorbed() -> bool:
            return await count(running, "mia") >= 10

        await until(absorbed, "all events")
        seconds, twice = time.monotonic() - mended, await count(running, "mia") - 10
        assert twice == 0
        row = Row("ingest waits and says so", "as expected, 10 events for each of three replies", 0, twice, seconds)
        table.add("Redis answers every command with an error: ingest", row)
