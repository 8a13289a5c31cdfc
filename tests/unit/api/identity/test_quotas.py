"""Quotas of callers: what is beyond is told when to come again, and others are not touched."""

from dataclasses import replace

import grpc
import pytest
from eyecatch.api.identity.callers import Caller
from eyecatch.api.identity.callers_file import parse
from eyecatch.api.identity.quotas import Quotas
from eyecatch.api.identity.rights import ALL
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput, Overloaded
from eyecatch.v1 import catalog_pb2, catalog_pb2_grpc, covers_pb2
from eyecatch.wiring.serve import application
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status

from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator
from tests.unit.api.conftest import Api, _Call
from tests.unit.api.identity.conftest import Write, token_of
from tests.unit.api.identity.test_callers import OK, code

LIMITED = Caller("limited", ALL, calls_per_s=2.0, covers_per_hour=10)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(clock: Clock) -> Quotas:
    return Quotas(clock)


def wait_s(quotas: Quotas, caller: Caller, covers: int = 0) -> float:
    """Seconds until the call, or these covers, will pass; 0 if they have."""
    try:
        quotas.covers(caller, covers) if covers else quotas.call(caller)
    except Overloaded as error:
        return error.retry_after_s
    return 0.0


def test_calls_of_a_second_pass_at_once_and_no_more(quotas: Quotas) -> None:
    assert [wait_s(quotas, LIMITED) > 0 for _ in range(4)] == [False, False, True, True]


def test_who_waits_as_long_as_was_said_passes(quotas: Quotas, clock: Clock) -> None:
    while not (wait := wait_s(quotas, LIMITED)):
        pass
    clock.now += wait
    assert wait_s(quotas, LIMITED) == 0


def test_a_long_pause_gives_no_more_than_a_second_of_calls(quotas: Quotas, clock: Clock) -> None:
    wait_s(quotas, LIMITED)
    clock.now += 3600
    assert sum(not wait_s(quotas, LIMITED) for _ in range(10)) == 2


def test_one_caller_takes_nothing_of_another(quotas: Quotas) -> None:
    while not wait_s(quotas, LIMITED):
        pass
    assert wait_s(quotas, replace(LIMITED, name="other")) == 0


def test_a_caller_without_a_quota_is_not_counted(quotas: Quotas) -> None:
    assert not any(wait_s(quotas, Caller("free", ALL), n % 2) for n in range(1000))


def test_a_caller_with_a_new_quota_starts_anew(quotas: Quotas) -> None:
    while not wait_s(quotas, LIMITED):
        pass
    assert wait_s(quotas, replace(LIMITED, calls_per_s=3.0)) == 0


def test_covers_of_an_hour_are_counted_one_by_one(quotas: Quotas, clock: Clock) -> None:
    assert wait_s(quotas, LIMITED, covers=8) == 0
    assert wait_s(quotas, LIMITED, covers=3) == pytest.approx(360.0, abs=0.01)
    assert wait_s(quotas, LIMITED, covers=2) == 0


def test_more_covers_than_an_hour_has_are_paid_back(quotas: Quotas, clock: Clock) -> None:
    assert wait_s(quotas, LIMITED, covers=16) == 0
    clock.now += 3600
    assert wait_s(quotas, LIMITED, covers=5) > 0
    assert wait_s(quotas, LIMITED, covers=4) == 0


async def test_a_call_beyond_the_quota_is_told_when_to_come_again(config: Config, callers: Write) -> None:
    path = callers({"limited": ["recommend"]}, "calls_per_s = 0.01")
    metadata = [("authorization", f"Bearer {token_of('limited')}")]
    async with (
        application(replace(config, callers=str(path)), FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        assert await code(channel, metadata[0][1]) is OK
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListItems(catalog_pb2.ListItemsRequest(), metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    info = RetryInfo()
    assert rpc_status.from_call(_Call(caught.value)).details[0].Unpack(info)
    assert 90 < info.retry_delay.ToTimedelta().total_seconds() <= 100


async def test_a_call_without_the_right_counts_too(config: Config, callers: Write) -> None:
    path = callers({"limited": ["write"]}, "calls_per_s = 0.01")
    async with (
        application(replace(config, callers=str(path)), FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        codes = [await code(channel, f"Bearer {token_of('limited')}") for _ in range(2)]
    assert codes == [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED]


async def test_covers_beyond_the_quota_are_refused(config: Config, callers: Write) -> None:
    path = callers({"limited": ["generate", "write"]}, "covers_per_hour = 2")
    metadata = [("authorization", f"Bearer {token_of('limited')}")]
    async with (
        application(replace(config, callers=str(path)), FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        api = Api(app, FakeGenerator(), channel)
        request = covers_pb2.GenerateCoversRequest(item_id="unknown", count=2)
        for expected in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await api.covers.GenerateCovers(request, metadata=metadata).read()
            assert caught.value.code() is expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("calls_per_s = 0", r"callers.a.calls_per_s: got 0; allowed: 0.001 to 1000000"),
        ("calls_per_s = true", r"callers.a.calls_per_s: got True"),
        ("calls_per_s = nan", r"callers.a.calls_per_s: got nan"),
        ("covers_per_hour = 1.5", r"callers.a.covers_per_hour: got 1.5; allowed: a whole number, 1 to 1000000"),
        ('covers_per_hour = "1"', r"callers.a.covers_per_hour: got '1'"),
    ],
)
def test_a_quota_that_is_none_is_named(line: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse(f'[callers.a]\nrights = ["write"]\nsubjects = ["a"]\n{line}'.encode())
