"""The components, each built over the base: valid, and in agreement with the program's defaults."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from eyecatch import __version__
from eyecatch.reader_config import GenerateConfig, IngestConfig
from eyecatch.settings import resolved

from tests.unit.deploy.kustomize import built
from tests.unit.deploy.test_k8s import BASE, VERSION

CONFIGS = {"ingest": IngestConfig, "generate": GenerateConfig}
REACHED = {"ingest": {9092, 6379}, "generate": {9092, 6379, 443}}


@pytest.fixture(scope="module", params=list(CONFIGS))
def component(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def workload(component: str) -> str:
    return f"eyecatch-{component}"


@pytest.fixture(scope="module")
def documents(component: str, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    documents = built(BASE, component, tmp_path_factory.mktemp("deploy"))
    return {(d["kind"], d["metadata"]["name"]): d for d in documents}


@pytest.fixture
def pod(documents: dict[tuple[str, str], dict[str, Any]], workload: str) -> dict[str, Any]:
    template: dict[str, Any] = documents["Deployment", workload]["spec"]["template"]
    return template


def test_every_document_is_valid(documents: dict[tuple[str, str], dict[str, Any]], workload: str) -> None:
    assert {("Deployment", workload), ("NetworkPolicy", workload)} < documents.keys()
    for document in documents.values():
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_it_is_not_taken_for_a_server(
    documents: dict[tuple[str, str], dict[str, Any]], pod: dict[str, Any], workload: str
) -> None:
    labels = pod["metadata"]["labels"]
    assert documents["Deployment", workload]["spec"]["selector"]["matchLabels"] == labels
    assert documents["NetworkPolicy", workload]["spec"]["podSelector"]["matchLabels"] == labels
    assert labels != documents["Service", "eyecatch"]["spec"]["selector"]


def test_the_command_line_the_port_and_the_grace_are_the_programs(
    documents: dict[tuple[str, str], dict[str, Any]], pod: dict[str, Any], component: str, workload: str
) -> None:
    (container,) = pod["spec"]["containers"]
    verb, *rest = container["args"]
    flags = {f.removeprefix("--").replace("-", "_"): v for f, v in zip(rest[::2], rest[1::2], strict=True)}
    config = resolved(CONFIGS[component], flags, {e["name"]: e["value"] for e in container["env"]})
    assert (verb, config.health_host) == (component, "0.0.0.0")
    assert config.kafka_client()["bootstrap_servers"] == ["kafka:9092"]
    assert config.store.startswith("redis://")
    assert isinstance(config, IngestConfig) or "://" in config.blobs, "servers must find the images"
    port = config.health_port
    assert container["ports"] == [{"name": "health", "containerPort": port}]
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": "health"}
    policy = documents["NetworkPolicy", workload]["spec"]
    assert policy["ingress"][0]["ports"][0]["port"] == port
    assert {p["port"] for p in policy["egress"][1]["ports"]} == REACHED[component]
    assert container["image"].endswith(f":{__version__}")
    assert pod["spec"]["terminationGracePeriodSeconds"] >= config.drain_s + 10


def test_the_pod_is_confined(pod: dict[str, Any]) -> None:
    (container,) = pod["spec"]["containers"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert Path(container["args"][container["args"].index("--data-dir") + 1]).is_relative_to("/tmp")
