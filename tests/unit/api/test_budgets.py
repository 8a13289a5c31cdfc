"""Budgets: waiting streams, imports and fast calls do not take each other's place, and what is beyond is told when to come again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import pytest
from eyecatch.config import Config
from eyecatch.v1 import catalog_pb2, covers_pb2
from eyecatch.wiring.serve import application
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator
from tests.servers import free_port
from tests.unit.api.conftest import Api, _Call

STREAMS = 300
"""More than the calls that are answered at a time."""
SERVING = health_pb2.HealthCheckResponse.SERVING


@asynccontextmanager
async def waiting(api: Api, streams: int) -> AsyncIterator[None]:
    """So many GenerateCovers wait for one cover, and as many watch health."""
    api.generator.gate = asyncio.Event()
    request = covers_pb2.GenerateCoversRequest(item_id="a", idempotency_key="k")
    health = health_pb2_grpc.HealthStub(api.channel)
    calls = [api.covers.GenerateCovers(request) for _ in range(streams)]
    calls += [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(streams)]
    await asyncio.gather(*(call.read() for call in calls))
    yield
    for call in calls:
        call.cancel()


async def test_waiting_streams_shut_nobody_out(api: Api) -> None:
    await api.put("a", "red")
    async with waiting(api, STREAMS):
        answer = await api.covers.RecommendCovers(covers_pb2.RecommendCoversRequest(item_ids=["a"]))
        assert answer.items[0].covers
        health = health_pb2_grpc.HealthStub(api.channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING


async def test_a_stream_beyond_the_budget_is_told_when_to_come_again(config: Config) -> None:
    generator = FakeGenerator()
    async with (
        application(replace(config, max_streams=2), generator, MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        api = Api(app, generator, channel)
        await api.put("a", "red")
        async with waiting(api, 2):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await api.covers.GenerateCovers(covers_pb2.GenerateCoversRequest(item_id="a")).read()
            status, retry = rpc_status.from_call(_Call(caught.value)), RetryInfo()
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert status is not None
            assert status.details[0].Unpack(retry)
            assert 0.1 <= retry.retry_delay.ToTimedelta().total_seconds() <= 1.0
            with pytest.raises(grpc.aio.AioRpcError, match="watches of health"):
                await health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()).read()
        generator.gate.set()
        assert [news async for news in api.covers.GenerateCovers(covers_pb2.GenerateCoversRequest(item_id="a"))]


async def test_imports_leave_room_for_fast_calls(config: Config) -> None:
    """The embedding of pictures waits; so do the imports, as many as may run."""
    generator, gate = FakeGenerator(), asyncio.Event()
    score = generator.score

    async def slow_score(*pictures: object) -> object:
        await gate.wait()
        return await score(*pictures)  # type: ignore[arg-type]

    async with (
        application(replace(config, max_imports=1, preload=False), generator, MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        api = Api(app, generator, channel)
        await api.put("a", "red")
        generator.score = slow_score  # type: ignore[method-assign,assignment]
        running = asyncio.ensure_future(api.put("b", "blue"))
        with pytest.raises(grpc.aio.AioRpcError, match="1 imports are running"):
            await asyncio.gather(api.put("c", "green"), api.put("d", "green"))
        await api.catalog.ListItems(catalog_pb2.ListItemsRequest())
        gate.set()
        await asyncio.wait([running])


async def test_a_watcher_that_leaves_takes_no_other_along(api: Api) -> None:
    health = health_pb2_grpc.HealthStub(api.channel)
    first, second = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
    for watch in (first, second):
        assert (await watch.read()).status == SERVING
    first.cancel()
    await health.Check(health_pb2.HealthCheckRequest())
    await api.app.leave(0.0)
    assert (await asyncio.wait_for(second.read(), 10)).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_has_a_port_of_its_own(config: Config) -> None:
    port = free_port()
    async with (
        application(replace(config, health_port=port), FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        await app.leave(0.0)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
