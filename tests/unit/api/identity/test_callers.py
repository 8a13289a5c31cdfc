"""How callers are known: by a token, by the callers file, which may change, and by their certificates."""

from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from eyecatch.api.identity.callers_file import parse
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput
from eyecatch.v1 import catalog_pb2, catalog_pb2_grpc
from eyecatch.wiring.serve import application
from structlog.testing import capture_logs

from tests.certificates import Authority
from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator
from tests.unit.api.identity.conftest import Write, token_of
from tests.waiting import until

OK, UNKNOWN, DENIED = (
    grpc.StatusCode.OK,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
)


async def code(channel: grpc.aio.Channel, authorization: str | None = None) -> grpc.StatusCode:
    """Of ListItems, which needs the right `recommend`."""
    metadata = [("authorization", authorization)] if authorization is not None else []
    try:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        await stub.ListItems(catalog_pb2.ListItemsRequest(), metadata=metadata, timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return OK


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("Bearer correct-horse", OK),
        ("bearer correct-horse", OK),
        ("Bearer correct-horsE", UNKNOWN),
        ("Bearer ", UNKNOWN),
        ("Basic correct-horse", UNKNOWN),
        ("correct-horse", UNKNOWN),
        ("", UNKNOWN),
        (None, UNKNOWN),
    ],
)
async def test_one_token_has_all_rights(config: Config, authorization: str | None, expected: grpc.StatusCode) -> None:
    async with (
        application(replace(config, api_token="correct-horse"), FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        assert await code(channel, authorization) is expected


async def test_a_call_of_a_stranger_is_not_parsed(config: Config) -> None:
    async with (
        application(replace(config, api_token="correct-horse"), FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/eyecatch.v1.CatalogService/ListItems")(b"\xff\xff")
        assert caught.value.code() is UNKNOWN


async def test_callers_that_are_added_and_removed_are_noticed(config: Config, callers: Write) -> None:
    path = callers({"old": ["recommend"]})
    async with (
        application(replace(config, callers=str(path)), FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        assert await code(channel, f"Bearer {token_of('old')}") is OK
        callers({"new": ["recommend"]})

        async def is_known() -> bool:
            return await code(channel, f"Bearer {token_of('new')}") is OK

        await until(is_known, "the new caller")
        assert await code(channel, f"Bearer {token_of('old')}") is UNKNOWN


async def test_a_broken_callers_file_changes_nothing(config: Config, callers: Write) -> None:
    path = callers({"old": ["recommend"]})
    async with (
        application(replace(config, callers=str(path)), FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        with capture_logs() as lines:
            path.write_text("[callers")
            await until(lambda: bool(lines), "a line of the log")
            assert await code(channel, f"Bearer {token_of('old')}") is OK
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["file_not_reloaded"]


@pytest.mark.parametrize(
    ("names", "common_name", "expected"),
    [
        (["recommender.shop"], None, OK),
        (["other.shop", "recommender.shop"], None, OK),
        ([], "recommender.shop", OK),
        # The common name counts only where there is no alternative name, as in browsers.
        (["other.shop"], "recommender.shop", UNKNOWN),
        (["importer.shop"], None, DENIED),
    ],
)
async def test_a_caller_is_known_by_its_certificate(
    over_tls: Config,
    authority: Authority,
    tmp_path: Path,
    names: list[str],
    common_name: str | None,
    expected: grpc.StatusCode,
) -> None:
    path = tmp_path / "callers.toml"
    path.write_text("""
        [callers.recommender]
        rights = ["recommend"]
        certificates = ["recommender.shop"]
        [callers.importer]
        rights = ["write"]
        certificates = ["importer.shop"]
    """)
    config = replace(over_tls, tls_client_ca=str(authority.file), callers=str(path))
    async with application(config, FakeGenerator(), MEAN) as app:
        own = authority.issue("client", *names, common_name=common_name)
        async with authority.channel(app.server.port, own) as channel:
            assert await code(channel) is expected


async def test_without_a_callers_file_every_certificate_of_the_authority_will_do(
    over_tls: Config, authority: Authority
) -> None:
    config, own = replace(over_tls, tls_client_ca=str(authority.file)), authority.issue("client", "anybody")
    async with (
        application(config, FakeGenerator(), MEAN) as app,
        authority.channel(app.server.port, own) as channel,
    ):
        assert await code(channel) is OK


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
async def test_an_address_that_others_reach_needs_identity(config: Config, host: str) -> None:
    with pytest.raises(
        InvalidInput, match=r"host: got .*--api-token, --callers or --tls-client-ca, or with --insecure"
    ):
        async with application(replace(config, host=host), FakeGenerator(), MEAN):
            pass


@pytest.mark.parametrize("settings", [{"insecure": True}, {"api_token": "correct-horse"}])
async def test_an_address_that_others_reach_is_served_with_identity_or_if_it_is_written_out(
    config: Config, settings: dict[str, object]
) -> None:
    async with application(replace(config, host="0.0.0.0", **settings), FakeGenerator(), MEAN) as app:
        assert app.server.port


async def test_identity_that_is_switched_off_in_the_same_breath_is_refused(config: Config) -> None:
    with pytest.raises(InvalidInput, match=r"insecure: got True; allowed: not with --api-token"):
        async with application(replace(config, insecure=True, api_token="correct-horse"), FakeGenerator(), MEAN):
            pass


GOOD = f'rights = ["write"]\ntokens = ["sha256:{"0" * 64}"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", r"callers: got '1 bytes'; allowed: TOML"),
        ("", r"allowed: tables \[callers.NAME\]"),
        (f"[caller.a]\n{GOOD}", r"got 'caller'; allowed: tables \[callers.NAME\]"),
        (f"[callers.a]\n{GOOD}rigths = []", "callers.a.rigths: .*allowed: one of rights, tokens"),
        ('[callers.a]\nrights = ["write"]', "callers.a: .*allowed: one of tokens, certificates, subjects"),
        ('[callers.a]\nrights = ["read"]\nsubjects = ["x"]', "callers.a.rights: .*recommend, generate, write"),
        ('[callers.a]\nrights = "write"\nsubjects = ["x"]', "callers.a.rights: got 'str'; allowed: a list of texts"),
        ('[callers.a]\nrights = []\nsubjects = ["x"]', "callers.a.rights: "),
        (f'[callers."a\\nb"]\n{GOOD}', "allowed: a name of"),
        (f"[callers.a]\n{GOOD}[callers.b]\n{GOOD}", "tokens: got '000000000000…'; allowed: each of one caller"),
    ],
)
def test_a_mistake_in_the_callers_file_is_named(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse(text.encode())


def test_a_token_in_the_place_of_its_digest_is_not_repeated() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(b'[callers.a]\nrights = ["write"]\ntokens = ["correct-horse"]')
    assert "correct-horse" not in str(caught.value)
    assert "sha256: and 64 digits" in str(caught.value)


async def test_certificates_in_the_callers_file_need_an_authority(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "callers.toml"
    path.write_text('[callers.a]\nrights = ["write"]\ncertificates = ["a"]')
    with pytest.raises(InvalidInput, match=r"callers.a.certificates: .*none without --tls-client-ca"):
        async with application(replace(config, callers=str(path)), FakeGenerator(), MEAN):
            pass
