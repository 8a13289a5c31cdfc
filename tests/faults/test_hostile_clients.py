"""Clients that send anything: 100,000 mutated requests over all rpcs."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from eyecatch.api.server import SERVICES
from eyecatch.config import Config
from eyecatch.v1 import behavior_pb2, catalog_pb2, covers_pb2, types_pb2
from eyecatch.wiring.serve import application
from google.protobuf.message import Message

from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator, picture
from tests.faults.table import Row, Table
from tests.unit.api.conftest import Api, event

CALLS, AT_ONCE = 100_000, 50
FORBIDDEN = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
REQUESTS: dict[str, Message] = {
    "RecommendCovers": covers_pb2.RecommendCoversRequest(user_id="mia", item_ids=["a", "b"], covers_per_item=2),
    "RankCovers": covers_pb2.RankCoversRequest(user_id="mia", item_id="a", limit=3),
    "GenerateCovers": covers_pb2.GenerateCoversRequest(item_id="a", user_id="mia", count=1, seed=3, steps=4),
    "GetCover": covers_pb2.GetCoverRequest(cover_id="c", include_image=True),
    "ListCovers": covers_pb2.ListCoversRequest(item_id="a", page_size=3),
    "UpsertItems": catalog_pb2.UpsertItemsRequest(
        items=[types_pb2.Item(id="b", title="B", references=[types_pb2.Image(data=picture("blue", (8, 8)))])]
    ),
    "RecordEvents": behavior_pb2.RecordEventsRequest(events=[event("e", "mia", "a")]),
    "GetProfile": behavior_pb2.GetProfileRequest(user_id="mia"),
}
"""Valid requests of the rpcs that have most to read; those of the others are empty."""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    config = Config(data_dir=str(tmp_path), port=0, drain_s=0.0, made_covers="trusted", preload=False, queue_max=100)
    generator = FakeGenerator()
    async with (
        application(config, generator, MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        api = Api(app, generator, channel)
        await api.put("a", "red")
        yield api


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four of them changed, cut out, doubled or put in."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(4):
            case 0 if out:
                out[at % len(out)] ^= 1 << rng.randrange(8)
            case 1:
                del out[at : at + rng.randint(1, 4)]
            case 2:
                out[at:at] = out[max(0, at - 8) : at]
            case _:
                out[at:at] = rng.randbytes(rng.randint(1, 4))
    return bytes(out)


async def in_turn(calls: int, one: Callable[[random.Random], Awaitable[None]]) -> None:
    """`one` so many times, AT_ONCE at a time."""

    async def caller(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(calls // AT_ONCE):
            await one(rng)

    await asyncio.gather(*(caller(seed) for seed in range(AT_ONCE)))


async def test_no_mutated_request_is_a_defect(api: Api, table: Table) -> None:
    rpcs = [(method, f"/{service.full_name}/{method.name}") for service in SERVICES for method in service.methods]
    codes: Counter[grpc.StatusCode] = Counter()
    defects: list[str] = []

    async def one(rng: random.Random) -> None:
        method, path = rng.choice(rpcs)
        request = REQUESTS.get(method.name)
        data = mutated(request.SerializeToString() if request else b"", rng)
        try:
            if method.server_streaming:
                async for _ in api.channel.unary_stream(path)(data, timeout=30):
                    pass
            else:
                await api.channel.unary_unary(path)(data, timeout=30)
            codes[grpc.StatusCode.OK] += 1
        except grpc.aio.AioRpcError as error:
            codes[error.code()] += 1
            if error.code() in FORBIDDEN:
                defects.append(f"{path} {data!r}: {error.details()}")

    await in_turn(CALLS, one)
    assert defects == []
    await api.put("z", "red")
    assert not [task for task in api.app.tasks if task.done() and task.exception()]
    text = ", ".join(f"{count} {code.name}" for code, count in codes.most_common(3))
    table.add("100,000 mutated requests over all rpcs", Row("none is INTERNAL, the server goes on", text))
