"""The component of ingest: built over the base, valid, and in agreement with the program's defaults."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from eyecatch import __version__
from eyecatch.config import IngestConfig, resolved

from tests.unit.test_k8s import BASE, VERSION


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    assert kubectl is not None, "no kubectl: install the dev extra"
    k8s = shutil.copytree(BASE.parent, tmp_path_factory.mktemp("deploy") / "k8s")
    overlay = k8s / "overlay"
    overlay.mkdir()
    overlay.joinpath("kustomization.yaml").write_text("resources: [../base]\ncomponents: [../components/ingest]\n")
    built = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(built.stdout)}


@pytest.fixture
def pod(documents: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    template: dict[str, Any] = documents["Deployment", "eyecatch-ingest"]["spec"]["template"]
    return template


def test_every_document_is_valid(documents: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert {("Deployment", "eyecatch-ingest"), ("NetworkPolicy", "eyecatch-ingest")} < documents.keys()
    for document in documents.values():
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_it_is_not_taken_for_a_server(documents: dict[tuple[str, str], dict[str, Any]], pod: dict[str, Any]) -> None:
    labels = pod["metadata"]["labels"]
    assert documents["Deployment", "eyecatch-ingest"]["spec"]["selector"]["matchLabels"] == labels
    assert documents["NetworkPolicy", "eyecatch-ingest"]["spec"]["podSelector"]["matchLabels"] == labels
    assert labels != documents["Service", "eyecatch"]["spec"]["selector"]


def test_the_command_line_the_port_and_the_grace_are_the_programs(
    documents: dict[tuple[str, str], dict[str, Any]], pod: dict[str, Any]
) -> None:
    (container,) = pod["spec"]["containers"]
    verb, *rest = container["args"]
    flags = {f.removeprefix("--").replace("-", "_"): v for f, v in zip(rest[::2], rest[1::2], strict=True)}
    config = resolved(IngestConfig, flags, {e["name"]: e["value"] for e in container["env"]})
    assert (verb, config.health_host) == ("ingest", "0.0.0.0")
    assert config.kafka_client()["bootstrap_servers"] == ["kafka:9092"]
    assert config.store.startswith("redis://")
    port = config.health_port
    assert container["ports"] == [{"name": "health", "containerPort": port}]
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": "health"}
    policy = documents["NetworkPolicy", "eyecatch-ingest"]["spec"]
    assert policy["ingress"][0]["ports"][0]["port"] == port
    assert {p["port"] for p in policy["egress"][1]["ports"]} == {9092, 6379}
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
