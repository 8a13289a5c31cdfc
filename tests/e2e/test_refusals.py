"""What can never succeed is refused for what it is, at once and with no time to try again: through the API, in process and over Triton."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from eyecatch.config import Config
from eyecatch.core.generator import Generator
from eyecatch.core.types import JobState
from eyecatch.encoders.learned import cover_space
from eyecatch.generators.local import LocalGenerator
from eyecatch.generators.triton import TritonGenerator, TritonOptions
from eyecatch.v1 import catalog_pb2, covers_pb2, types_pb2
from eyecatch.wiring.serve import application
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from icg import starter

from tests import triton
from tests.contracts.builders import MEAN
from tests.unit.api.conftest import Api, _Call
from tests.unit.api.test_generation import rest
from tests.unit.generators.test_local import square
from tests.unit.icg.products.random_products import store_product

Generate = covers_pb2.GenerateCoversRequest
REFUSED = {
    "a product that is unknown": ({"product_id": "gone"}, "NOT_FOUND", "no product 'gone'; allowed: one, whole"),
    "a product that cannot share a batch": ({"product_id": "whole"}, "FAILED_PRECONDITION", "changes all weights"),
    "a scene without a controlnet": ({"inpaint": True}, "FAILED_PRECONDITION", "has no controlnet/"),
    "a target without a designer": ({"target_kpi": "high"}, "FAILED_PRECONDITION", "without design/"),
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter without studios, ControlNet and designer, and a folder of two fine-tuned products of it."""
    folder = tmp_path_factory.mktemp("bare")
    for part in starter.path().iterdir():
        if part.is_dir() and part.name not in ("grounds", "controlnet", "reliability", "design", "engagement"):
            (folder / part.name).symlink_to(part)
    pipeline = starter.load(folder).pipeline
    for id, method in (("one", "dreambooth"), ("whole", "dreambooth-full")):
        store_product(folder / "products", pipeline, id, method)
    return folder


@contextmanager
def generator_of(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Generator]:
    if kind == "in process":
        yield LocalGenerator(folder, folder / "products")
        return
    monkeypatch.setenv("EYECATCH_CHECKPOINT", str(folder))
    monkeypatch.setenv("EYECATCH_PRODUCTS", str(folder / "products"))
    with triton.running() as server:
        yield TritonGenerator([server.ready().address], TritonOptions(60.0, 2, cover_space(folder)))


@pytest.fixture(params=["in process", pytest.param("over Triton", marks=pytest.mark.slow)])
async def api(
    request: pytest.FixtureRequest, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Api]:
    config = Config(data_dir=str(tmp_path), port=0, exploration=0.0, drain_s=0.0)
    with generator_of(request.param, bare, monkeypatch) as generator:
        async with (
            application(config, generator, MEAN) as app,
            grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
        ):
            yield Api(app, generator, channel)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*:FutureWarning")
async def test_what_can_never_succeed_says_so_at_once(api: Api) -> None:
    image = types_pb2.Image(data=square("plain"))
    item = types_pb2.Item(id="a", title="A title", references=[image])
    await api.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[item]))
    for what, (knobs, code, text) in REFUSED.items():
        call = api.covers.GenerateCovers(Generate(item_id="a", **knobs))
        job_id = (await call.read()).progress.job_id
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rest(call)
        assert (caught.value.code().name, text in (caught.value.details() or "")) == (code, True), (what, caught.value)
        status = rpc_status.from_call(_Call(caught.value))
        assert not any(detail.Is(RetryInfo.DESCRIPTOR) for detail in (status.details if status else ())), what
        stored = await api.app.parts.store.queue.status(job_id)
        assert stored is not None
        assert (stored.state, stored.job.attempts) == (JobState.FAILED, 1), what
    updates = [u async for u in api.covers.GenerateCovers(Generate(item_id="a", product_id="one", steps=1))]
    assert updates[-1].cover.image, "the same servers draw what they can"
