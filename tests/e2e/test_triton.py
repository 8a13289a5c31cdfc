"""`eyecatch serve --triton`: covers drawn by a real Triton server, which then dies and comes back."""

import io
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from eyecatch.client import Client, connect
from eyecatch.v1 import covers_pb2
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from icg import provenance
from PIL import Image

from tests.e2e.conftest import serving
from tests.servers import free_port, until
from tests.triton import Triton

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def covers(client: Client, **fields: object) -> list[covers_pb2.GenerateCoversResponse]:
    request = covers_pb2.GenerateCoversRequest(item_id="panda", user_id="mia", **fields)  # type: ignore[arg-type]
    return list(client.covers.GenerateCovers(request, timeout=60))


def health(address: str, name: str) -> int:
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=name)
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=20).status)


def retry_delay_s(error: grpc.RpcError) -> float:
    status, retry = rpc_status.from_call(error), RetryInfo()  # type: ignore[arg-type]
    assert status is not None
    assert any(detail.Unpack(retry) for detail in status.details)
    return float(retry.retry_delay.ToNanoseconds() / 1e9)


def pool(client: Client) -> set[str]:
    return {c.id for c in client.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="panda"), timeout=10).covers}


@pytest.fixture
def mortal(triton_server: Triton) -> Iterator[Triton]:
    """The shared server, which runs again for whoever comes next."""
    yield triton_server
    if triton_server.process.poll() is not None:
        triton_server.launch()
        triton_server.ready()


def metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as page:
        lines = [line.rsplit(" ", 1) for line in page.read().decode().splitlines() if line.startswith("eyecatch_")]
    return {name: float(value) for name, value in lines}


def test_covers_come_from_triton_and_its_death_is_survived(data_dir: Path, mortal: Triton) -> None:
    port, at = free_port(), mortal.address
    flags = ("--triton", at, "--metrics-port", str(port), "--made-covers", "trusted", "--exploration", "0")
    with serving(data_dir, *flags) as (address, _), connect(address) as client:
        *news, cover = covers(client, seed=5, steps=6)
        steps = [(n.progress.step, n.progress.total_steps) for n in news]
        assert steps[-1] == (6, 6)
        assert provenance.read(cover.cover.image)["seed"] == 5
        assert Image.open(io.BytesIO(cover.cover.image)).size in ((256, 256), (320, 320))
        assert cover.cover.id in pool(client)
        until(lambda: health(address, "eyecatch.generator") == SERVING, "the generator's health")
        before = metrics(port)
        assert before[f'eyecatch_triton_requests_total{{endpoint="{at}",outcome="done"}}'] == 2, "drawn and scored"
        assert before[f'eyecatch_triton_there{{endpoint="{at}"}}'] == 1
        known = pool(client)

        request = covers_pb2.GenerateCoversRequest(item_id="panda", user_id="mia", seed=6, steps=100)
        stream = client.covers.GenerateCovers(request, timeout=60)
        next(n for n in stream if n.progress.step > 0)
        mortal.kill()
        with pytest.raises(grpc.RpcError) as failed:
            list(stream)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert retry_delay_s(failed.value) >= 1
        until(lambda: health(address, "eyecatch.generator") == NOT_SERVING, "the generator's health")
        assert health(address, "") == SERVING
        request = covers_pb2.RecommendCoversRequest(user_id="mia", item_ids=["panda"])
        assert client.covers.RecommendCovers(request, timeout=20).items[0].covers
        during = metrics(port)
        assert during[f'eyecatch_triton_there{{endpoint="{at}"}}'] == 0
        assert during[f'eyecatch_triton_requests_total{{endpoint="{at}",outcome="failed"}}'] >= 1
        assert pool(client) == known, "nothing is stored of it"

        mortal.launch()
        mortal.ready()
        until(lambda: health(address, "eyecatch.generator") == SERVING, "the generator's recovery")
        assert covers(client, seed=5, steps=6)[-1].cover.image == cover.cover.image
