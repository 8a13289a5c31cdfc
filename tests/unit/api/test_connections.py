"""Connections of clients: addresses of version 6, and pings on a quiet stream."""

import asyncio
import time
from dataclasses import replace

import grpc
import pytest
from eyecatch.config import Config
from eyecatch.v1 import catalog_pb2, catalog_pb2_grpc
from eyecatch.wiring.serve import application
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator
from tests.unit.api.conftest import Api

PINGING = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]


@pytest.mark.parametrize("host", ["::", "::1"])
async def test_a_server_listens_on_addresses_of_version_6(config: Config, host: str) -> None:
    async with (
        application(replace(config, host=host, insecure=True), FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"[::1]:{app.server.port}") as channel,
    ):
        answer = await catalog_pb2_grpc.CatalogServiceStub(channel).ListItems(catalog_pb2.ListItemsRequest())
        assert list(answer.items) == []


async def test_a_server_that_leaves_says_so_and_still_answers(api: Api) -> None:
    health = health_pb2_grpc.HealthStub(api.channel)
    serving = health_pb2.HealthCheckResponse
    assert (await health.Check(health_pb2.HealthCheckRequest())).status == serving.SERVING
    await api.app.leave(0.0)
    assert (await health.Check(health_pb2.HealthCheckRequest())).status == serving.NOT_SERVING
    assert "stopping" in api.app.health.text()
    await api.put("a", "red")


async def test_a_connection_has_an_age_and_its_calls_outlive_it(config: Config) -> None:
    async with (
        application(replace(config, connection_age_s=0.2), FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        async with asyncio.timeout(10):
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        assert not watch.done()
        answer = await catalog_pb2_grpc.CatalogServiceStub(channel).ListItems(catalog_pb2.ListItemsRequest())
        assert list(answer.items) == []


@pytest.mark.parametrize("reject", [True, False])
async def test_a_call_beyond_the_limit_of_its_connection_stays_with_the_client(config: Config, reject: bool) -> None:
    options = [
        ("grpc.http.max_concurrent_streams_reject_on_client", int(reject)),
        ("grpc.enable_retries", int(not reject)),
    ]
    async with (
        application(replace(config, max_calls_per_connection=2), FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}", options) as channel,
    ):
        health, catalog = health_pb2_grpc.HealthStub(channel), catalog_pb2_grpc.CatalogServiceStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        await asyncio.gather(*(watch.read() for watch in watches))
        call = catalog.ListItems(catalog_pb2.ListItemsRequest(), timeout=10)
        if reject:
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        else:
            await asyncio.sleep(0.05)
            assert not call.done()
            watches[0].cancel()
            assert list((await call).items) == []


async def test_reflection_speaks_v1_too(api: Api) -> None:
    ask = reflection_pb2.ServerReflectionRequest(file_containing_symbol="eyecatch.v1.CoversService").SerializeToString()
    call = api.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")([ask])
    (answer,) = [reflection_pb2.ServerReflectionResponse.FromString(data) async for data in call]
    assert answer.file_descriptor_response.file_descriptor_proto


@pytest.mark.slow
async def test_a_quiet_stream_outlives_a_clients_pings(api: Api) -> None:
    """Three pings without data are too many for gRPC's defaults; the fourth comes after 40 s."""
    begin = time.monotonic()
    address = f"127.0.0.1:{api.app.server.port}"

    def watch() -> grpc.StatusCode:
        with grpc.insecure_channel(address, PINGING) as channel, pytest.raises(grpc.RpcError) as caught:
            for _ in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=45):
                pass
        return caught.value.code()  # type: ignore[no-any-return]

    assert await asyncio.to_thread(watch) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - begin > 44
