"""The client of Triton over TLS, against a server that asks for our certificate. It answers pings alone."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput
from eyecatch.generators.triton import DRAW
from eyecatch.generators.triton_endpoints import Endpoint, Endpoints
from eyecatch.tls import Tls
from eyecatch.wiring.generator import make_generator
from icg import starter
from structlog.testing import capture_logs
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.certificates import NAME, Authority


class Pinged(service_pb2_grpc.GRPCInferenceServiceServicer):
    async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for _ in requests:
            yield service_pb2.ModelStreamInferResponse()

    async def ServerLive(self, request: Any, context: Any) -> Any:
        return service_pb2.ServerLiveResponse(live=True)


@pytest.fixture
async def port(authority: Authority) -> AsyncIterator[int]:
    certificate, key = (path.read_bytes() for path in authority.issue("triton", NAME))
    credentials = grpc.ssl_server_credentials([(key, certificate)], authority.ca.cert_pem.bytes(), True)
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Pinged(), server)
    port = server.add_secure_port(f"{NAME}:0", credentials)
    await server.start()
    yield port
    await server.stop(0)


async def answers(port: int, tls: Tls | None) -> bool:
    endpoints = Endpoints([f"{NAME}:{port}"], DRAW, 1.0, tls)
    try:
        return await endpoints.all[0].alive(DRAW, 5.0)
    finally:
        await endpoints.close()


async def test_triton_is_called_with_our_certificate(port: int, authority: Authority) -> None:
    own = map(str, authority.issue("server", "eyecatch"))
    assert await answers(port, Tls(str(authority.file), *own))


async def test_a_certificate_that_was_rotated_is_used_without_a_restart(
    port: int, authority: Authority, stranger: Authority
) -> None:
    files = stranger.issue("server", "eyecatch")
    endpoint = Endpoint(f"{NAME}:{port}", Tls(str(authority.file), *map(str, files)))
    assert not await endpoint.alive(DRAW, 5.0)
    for new, file in zip(authority.issue("server", "eyecatch"), files, strict=True):
        shutil.copy(new, file)
    await endpoint.renew()
    assert await endpoint.alive(DRAW, 5.0)
    await endpoint.close()


async def test_a_broken_new_certificate_leaves_the_one_before_and_is_logged_once(
    port: int, authority: Authority
) -> None:
    files = authority.issue("server", "eyecatch")
    endpoint = Endpoint(f"{NAME}:{port}", Tls(str(authority.file), *map(str, files)))
    files[0].write_text("no certificate")
    with capture_logs() as lines:
        await endpoint.renew()
        await endpoint.renew()
    assert [line["event"] for line in lines] == ["tls_not_reloaded"]
    assert await endpoint.alive(DRAW, 5.0)
    await endpoint.close()


async def test_a_connection_with_running_calls_outlives_its_certificate(port: int, authority: Authority) -> None:
    files = authority.issue("server", "eyecatch")
    endpoint = Endpoint(f"{NAME}:{port}", Tls(str(authority.file), *map(str, files)))
    before = endpoint.client
    with endpoint.serving():
        authority.issue("server", "eyecatch")
        await endpoint.renew()
        assert endpoint.client is not before
        assert await before.is_server_live()
    await endpoint.close()


@pytest.mark.parametrize("ca", ["stranger", ""])
async def test_a_triton_server_that_is_not_trusted_is_not_called(port: int, stranger: Authority, ca: str) -> None:
    assert not await answers(port, Tls(str(stranger.file)) if ca else None)


def test_flags_name_the_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"tls: got .*none\.pem.*No such file"):
        make_generator(Config(triton="a:8001", triton_ca=str(tmp_path / "none.pem")), starter.path())
