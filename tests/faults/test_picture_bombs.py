"""Small files that decode to 40 megapixels, sent sixteen at a time: recommendations go on, and memory has a bound."""

import asyncio
from io import BytesIO
from pathlib import Path

import grpc
import pytest
from eyecatch.v1 import catalog_pb2, catalog_pb2_grpc, types_pb2
from PIL import Image

from benchmarks.fast_path import fill, ours, requests
from benchmarks.load import Load
from tests.faults.table import Row, Table
from tests.faults.test_cancelled_calls import resident_mb

BOMBS, USERS, RATE, SECONDS = 16, 1000, 200, 5.0
ALLOWED_MS, ALLOWED_MB = 100.0, 700.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def bomb() -> bytes:
    file = BytesIO()
    Image.new("RGB", (8000, 5000), "red").save(file, "PNG")
    return file.getvalue()


async def send(port: int, picture: bytes, n: int) -> grpc.StatusCode:
    """Of an item with the bomb as its picture: the status."""
    item = types_pb2.Item(id=f"bomb-{n}", title="A bomb", references=[types_pb2.Image(data=picture)])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = catalog_pb2_grpc.CatalogServiceStub(channel).UpsertItems(
            catalog_pb2.UpsertItemsRequest(items=[item]), timeout=120
        )
        return await call.code()


async def test_pictures_of_40_megapixels_hold_up_no_recommendation(tmp_path: Path, table: Table) -> None:
    await fill(tmp_path, USERS)
    picture = bomb()
    with ours(tmp_path) as (port, pid):
        load = Load(port, pid, requests(USERS, 1000))
        await load.closed(2.0)
        await send(port, picture, -1)  # loads what embeds pictures
        calm = await load.open(SECONDS, RATE, seed=0)
        before = resident_mb(pid)
        bombs = [asyncio.ensure_future(send(port, picture, n)) for n in range(BOMBS)]
        beside = await load.open(SECONDS, RATE, seed=1)
        peak = resident_mb(pid)
        codes = {code.name for code in await asyncio.gather(*bombs)}
        await load.close()
    assert codes <= {"OK", "RESOURCE_EXHAUSTED"}
    assert beside.percentile(99) < ALLOWED_MS
    assert peak - before < ALLOWED_MB
    text = (
        f"p99 {beside.percentile(99):.1f} ms beside them, {calm.percentile(99):.1f} ms without; {peak - before:+.0f} MB"
    )
    table.add(f"{BOMBS} pictures of 40 megapixels at once", Row("recommendations go on, memory has a bound", text))
