"""The command lines of the production overlay, started as they are on a real Redis and a real broker; only addresses are others."""

import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from eyecatch.client import connect
from eyecatch.v1 import catalog_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from icg import starter

from tests.broker import Broker
from tests.e2e.conftest import EYECATCH
from tests.processes import owned
from tests.servers import RedisServer, free_port, until
from tests.unit.deploy.kustomize import K8S, PRODUCTION, Document, Pod, built, pods, secret

(PARTS,) = (
    line.partition("=")[2].split()
    for line in (K8S / "overlays" / PRODUCTION / "settings.env").read_text().splitlines()
    if line.startswith("CHECKPOINT_PARTS=")
)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    return built(PRODUCTION, tmp_path_factory.mktemp("deploy"))


@pytest.fixture
def elsewhere(redis_server: RedisServer, kafka: Broker, tmp_path: Path) -> dict[str, str]:
    """Variables in place of those of the cluster: a Triton that is away, and of a checkpoint the parts that its init container fetches."""
    redis_server.client.flushall()
    for part in PARTS:
        shutil.copytree(Path(starter.path()) / part, tmp_path / "checkpoint" / part)
    return {
        "EYECATCH_STORE": redis_server.url,
        "EYECATCH_KAFKA": kafka.address,
        "EYECATCH_KAFKA_SECURITY": "PLAINTEXT",
        "EYECATCH_EVENTS_TOPIC": kafka.create(),
        "EYECATCH_REQUESTS_TOPIC": kafka.create(),
        "EYECATCH_BLOB_URL": f"file://{tmp_path}/blobs",
        "EYECATCH_TRITON": f"127.0.0.1:{free_port()}",
        "EYECATCH_CHECKPOINT": str(tmp_path / "checkpoint"),
        "EYECATCH_PORT": str(free_port()),
        "EYECATCH_HEALTH_PORT": str(free_port()),
    }


@contextmanager
def started(pod: Pod, environ: dict[str, str], folder: Path) -> Iterator[dict[str, int]]:
    """The ports that its flags named, as it has them here. At the end it must leave with status 0 within its grace period."""
    ports, words = {}, []
    for word in pod.command:
        flag = word.partition("=")[0]
        if flag.endswith("-port"):
            ports[flag] = free_port()
            word = f"{flag}={ports[flag]}"
        words.append(f"{flag}={folder / pod.name}" if flag == "--data-dir" else word)
    process = subprocess.Popen(owned(*EYECATCH, *words), env={**os.environ, **pod.environ, **environ})
    try:
        yield ports
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(pod.spec["terminationGracePeriodSeconds"]) == 0
    finally:
        process.kill()
        process.wait()


def page(port: int | str, path: str) -> str:
    """Its text, empty if there is none or it is not well."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError):
        return ""


def serves(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_the_server_is_ready_and_exports_what_autoscalers_ask_for(
    documents: list[Document], elsewhere: dict[str, str], tmp_path: Path
) -> None:
    pod = pods(documents, secret(PRODUCTION))["eyecatch"]
    with started(pod, elsewhere, tmp_path) as ports:
        until(lambda: serves(ports["--health-port"]), "readiness", 100)
        with connect(f"127.0.0.1:{elsewhere['EYECATCH_PORT']}", pod.environ["EYECATCH_API_TOKEN"]) as client:
            client.catalog.ListItems(catalog_pb2.ListItemsRequest(), timeout=20)
        exported = page(ports["--metrics-port"], "/metrics")
        queries = [
            t["metadata"].get("query", "")
            for d in documents
            if d["kind"] == "ScaledObject"
            for t in d["spec"]["triggers"]
        ]
        metrics = {name for query in queries for name in re.findall(r"(\w+)\{", query)}
        assert {name for name in metrics if f"\n{name}" not in exported} == {"eyecatch_generate_running_jobs"}


@pytest.mark.parametrize(
    ("name", "draws"),
    [("eyecatch-ingest", {}), ("eyecatch-generate", {"EYECATCH_TRITON": "", "EYECATCH_CHECKPOINT": ""})],
)
def test_a_worker_is_ready(
    name: str, draws: dict[str, str], documents: list[Document], elsewhere: dict[str, str], tmp_path: Path
) -> None:
    """One that makes covers draws them itself here, with the starter."""
    pod = pods(documents, secret(PRODUCTION))[name]
    with started(pod, elsewhere | draws, tmp_path):
        until(lambda: page(elsewhere["EYECATCH_HEALTH_PORT"], "/health") == "SERVING\n", "readiness", 100)
        assert "\neyecatch_build_info" in page(elsewhere["EYECATCH_HEALTH_PORT"], "/metrics")
