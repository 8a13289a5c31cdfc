"""TLS of the server and of our commands: rotation without a restart, clients' certificates, files that are unusable."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from eyecatch.cli import app as cli
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput
from eyecatch.v1 import catalog_pb2, catalog_pb2_grpc
from eyecatch.wiring.serve import application
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs
from typer.testing import CliRunner

from tests.certificates import NAME, Authority
from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator
from tests.servers import free_port


async def items(channel: grpc.aio.Channel) -> list[str]:
    async with channel:
        request = catalog_pb2.ListItemsRequest()
        answer = await catalog_pb2_grpc.CatalogServiceStub(channel).ListItems(request, timeout=10)
    return [item.id for item in answer.items]


async def is_refused(channel: grpc.aio.Channel) -> bool:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await items(channel)
    return caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_client_that_trusts_the_authority_is_answered(over_tls: Config, authority: Authority) -> None:
    async with application(over_tls, FakeGenerator(), MEAN) as app:
        assert await items(authority.channel(app.server.port)) == []


async def test_a_client_without_tls_is_not_answered(over_tls: Config) -> None:
    async with application(over_tls, FakeGenerator(), MEAN) as app:
        assert await is_refused(grpc.aio.insecure_channel(f"{NAME}:{app.server.port}"))


async def test_a_rotated_certificate_is_used_without_a_restart(
    over_tls: Config, authority: Authority, stranger: Authority
) -> None:
    async with application(over_tls, FakeGenerator(), MEAN) as app:
        assert await is_refused(stranger.channel(app.server.port))
        certificate, key = stranger.issue("server", NAME)
        shutil.copy(certificate, over_tls.tls_cert)
        shutil.copy(key, over_tls.tls_key)
        assert await items(stranger.channel(app.server.port)) == []


async def test_a_broken_new_certificate_leaves_the_one_before_and_is_logged_once(
    over_tls: Config, authority: Authority
) -> None:
    async with application(over_tls, FakeGenerator(), MEAN) as app:
        with capture_logs() as lines:
            Path(over_tls.tls_cert).write_text("no certificate")
            for _ in range(2):
                assert await items(authority.channel(app.server.port)) == []
    assert [line["event"] for line in lines] == ["tls_not_reloaded"]


async def test_a_client_needs_a_certificate_of_the_clients_authority(over_tls: Config, authority: Authority) -> None:
    config = replace(over_tls, tls_client_ca=str(authority.file))
    async with application(config, FakeGenerator(), MEAN) as app:
        assert await is_refused(authority.channel(app.server.port))
        assert await items(authority.channel(app.server.port, authority.issue("client", "recommender"))) == []


async def test_a_certificate_of_another_authority_is_refused(
    over_tls: Config, authority: Authority, stranger: Authority
) -> None:
    config = replace(over_tls, tls_client_ca=str(authority.file))
    async with application(config, FakeGenerator(), MEAN) as app:
        assert await is_refused(authority.channel(app.server.port, stranger.issue("client", "recommender")))


async def test_the_health_port_speaks_no_tls(over_tls: Config) -> None:
    port = free_port()
    async with (
        application(replace(over_tls, health_port=port), FakeGenerator(), MEAN),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tls_cert": "server.pem"}, "tls_cert: .*--tls-cert and --tls-key together"),
        ({"tls_client_ca": "ca.pem"}, "tls_cert: .*--tls-client-ca needs both"),
        ({"tls_cert": "none.pem", "tls_key": "server.key"}, "tls_cert: .*none.pem.*No such file"),
        ({"tls_cert": "server.pem", "tls_key": "none.key"}, "tls_key: .*none.key.*No such file"),
        ({"tls_cert": "server.pem", "tls_key": "other.key"}, "tls_cert: .*server.pem.*whose key"),
        ({"tls_cert": "empty.pem", "tls_key": "server.key"}, "tls_cert: .*empty.pem.*certificate in PEM"),
        (
            {"tls_cert": "server.pem", "tls_key": "server.key", "tls_client_ca": "empty.pem"},
            "tls_client_ca: .*empty.pem.*certificates in PEM",
        ),
    ],
)
async def test_an_unusable_file_is_named_at_the_start(
    config: Config, authority: Authority, files: dict[str, str], message: str
) -> None:
    authority.issue("server", NAME)
    authority.issue("other", NAME)
    (authority.folder / "empty.pem").touch()
    paths = {name: str(authority.folder / file) for name, file in files.items()}
    with pytest.raises(InvalidInput, match=message):
        async with application(replace(config, **paths), FakeGenerator(), MEAN):
            pass


async def test_a_command_calls_a_server_that_asks_for_certificates(over_tls: Config, authority: Authority) -> None:
    config = replace(over_tls, tls_client_ca=str(authority.file))
    certificate, key = map(str, authority.issue("client", "recommender"))
    own = ["--tls-client-cert", certificate, "--tls-client-key", key]
    async with application(config, FakeGenerator(), MEAN) as app:
        flags = ["--server", f"{NAME}:{app.server.port}", "--tls-ca", str(authority.file), *own, "--json"]
        done = await asyncio.to_thread(CliRunner().invoke, cli, ["items", "list", *flags])
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tls-ca", "/none.pem"], "tls: got '/none.pem'; allowed: a file that can be read"),
        (["--tls-ca", "/etc/hostname"], "a file in PEM"),
        (["--tls-client-cert", "/client.pem"], "the authority alone, or also a certificate and its key"),
    ],
)
def test_a_command_names_an_unusable_file(flags: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, ["items", "list", *flags])
    assert done.exit_code == 1
    assert message in done.stderr
