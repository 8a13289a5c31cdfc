"""A real server on a free port over a real SQLite file; only the generator is a fake."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from eyecatch.config import Config
from eyecatch.v1 import (
    behavior_pb2,
    behavior_pb2_grpc,
    catalog_pb2,
    catalog_pb2_grpc,
    covers_pb2_grpc,
    review_pb2_grpc,
    types_pb2,
)
from eyecatch.wiring.serve import Application, application
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator, picture


@dataclass
class Api:
    app: Application
    generator: FakeGenerator
    channel: grpc.aio.Channel

    @property
    def covers(self) -> covers_pb2_grpc.CoversServiceStub:
        return covers_pb2_grpc.CoversServiceStub(self.channel)

    @property
    def catalog(self) -> catalog_pb2_grpc.CatalogServiceStub:
        return catalog_pb2_grpc.CatalogServiceStub(self.channel)

    @property
    def behavior(self) -> behavior_pb2_grpc.BehaviorServiceStub:
        return behavior_pb2_grpc.BehaviorServiceStub(self.channel)

    @property
    def review(self) -> review_pb2_grpc.ReviewServiceStub:
        return review_pb2_grpc.ReviewServiceStub(self.channel)

    async def put(self, id: str, *colors: str, title: str = "A title") -> None:
        references = [types_pb2.Image(data=picture(c)) for c in colors]
        item = types_pb2.Item(id=id, title=title, references=references)
        await self.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[item]))

    async def refused(self, call: grpc.aio.Call, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT) -> set[str]:
        """The call must fail with `code`; returns the fields it names. The server must still answer afterwards."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is code, caught.value
        await self.catalog.ListItems(catalog_pb2.ListItemsRequest())
        return fields(caught.value)


def fields(error: grpc.aio.AioRpcError) -> set[str]:
    result = set()
    status = rpc_status.from_call(_Call(error))
    for detail in status.details if status else ():
        bad = BadRequest()
        if detail.Unpack(bad):
            result |= {v.field for v in bad.field_violations}
    return result


class _Call:
    """AioRpcError in the shape rpc_status reads."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self._error = error
        self.code, self.details = error.code, error.details

    def trailing_metadata(self) -> list[tuple[str, object]]:
        return list(self._error.trailing_metadata())


def event(id: str, user: str, item: str, action: int = types_pb2.ACTION_LIKE, **more: object) -> types_pb2.Event:
    time = more.pop("time", 1_700_000_000)
    return types_pb2.Event(id=id, user_id=user, item_id=item, action=action, time=Timestamp(seconds=time), **more)


async def report(api: "Api", cover_id: str, users: range, clicks: int) -> None:
    """Each user sees the cover, and the first `clicks` of them click."""
    events = []
    for n, user in enumerate(users):
        for action in (types_pb2.ACTION_IMPRESSION, types_pb2.ACTION_CLICK)[: 1 + (n < clicks)]:
            more = {"cover_id": cover_id, "time": 1_700_000_000 + 60 * n}
            events.append(event(f"{cover_id}/{user}/{action}", f"u{user}", "a", action, **more))
    await api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=events))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data_dir=str(tmp_path / "data"), port=0, exploration=0.0, made_covers="trusted", drain_s=0.0)


@pytest.fixture
async def api(config: Config) -> AsyncIterator[Api]:
    generator = FakeGenerator()
    async with (
        application(config, generator, MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        yield Api(app, generator, channel)
