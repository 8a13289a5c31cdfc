"""The authorisation matrix: every rpc called by every role, through a real server."""

from collections.abc import AsyncIterator

import grpc
import pytest
from eyecatch.api.identity.rights import RIGHTS, Right
from eyecatch.api.server import REFLECTION, REFLECTION_V1, SERVICES
from eyecatch.config import Config
from eyecatch.wiring.serve import application
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator
from tests.unit.api.identity.conftest import token_of

METHODS = {f"{service.full_name}/{method.name}": method for service in SERVICES for method in service.methods}
ROLES = (*map(str, Right), "everything")
ANYBODY = "without a token"


@pytest.fixture
async def channel(one_each: Config) -> AsyncIterator[grpc.aio.Channel]:
    async with (
        application(one_each, FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        yield channel


async def outcome(channel: grpc.aio.Channel, method: str, role: str, request: bytes = b"") -> str:
    """ "passed" if the call comes to the rpc itself, else the code and what was refused."""
    metadata = [] if role == ANYBODY else [("authorization", f"Bearer {token_of(role)}")]
    try:
        if method.endswith("ServerReflectionInfo"):
            stream = channel.stream_stream(f"/{method}")(iter([request]), metadata=metadata, timeout=10)
            assert await stream.read()
        elif method in METHODS and METHODS[method].server_streaming:
            await channel.unary_stream(f"/{method}")(request, metadata=metadata, timeout=10).read()
        else:
            await channel.unary_unary(f"/{method}")(request, metadata=metadata, timeout=10)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            return "unknown"
        if error.code() is grpc.StatusCode.PERMISSION_DENIED:
            return error.details().partition(";")[0]
    return "passed"


def test_every_rpc_of_every_service_has_one_right() -> None:
    assert set(RIGHTS) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
async def test_an_rpc_is_for_those_with_its_right_alone(channel: grpc.aio.Channel, method: str) -> None:
    right, name = RIGHTS[method], method.rpartition("/")[2]
    denied = f"{name} needs the right '{right}'"
    expected = {role: "passed" if role in (right, "everything") else denied for role in ROLES} | {ANYBODY: "unknown"}
    assert {role: await outcome(channel, method, role) for role in expected} == expected


async def test_health_is_open(channel: grpc.aio.Channel) -> None:
    request = health_pb2.HealthCheckRequest().SerializeToString()
    assert await outcome(channel, "grpc.health.v1.Health/Check", ANYBODY, request) == "passed"


@pytest.mark.parametrize("method", [REFLECTION, f"{REFLECTION_V1}/ServerReflectionInfo"])
async def test_reflection_is_for_known_callers(channel: grpc.aio.Channel, method: str) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    expected = dict.fromkeys(ROLES, "passed") | {ANYBODY: "unknown"}
    assert {role: await outcome(channel, method, role, request) for role in expected} == expected
