"""The manifests: kustomize builds them, strict schemas accept them, and they agree with the program's defaults."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from eyecatch import __version__
from eyecatch.config import Config
from eyecatch.settings import resolved

BASE = Path(__file__).parents[3] / "deploy" / "k8s" / "base"
VERSION = "1.31"
APP = {"app.kubernetes.io/name": "eyecatch"}


@pytest.fixture(scope="module")
def documents() -> dict[tuple[str, str], dict[str, Any]]:
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if kubectl is None:
        pytest.fail("no kubectl: install the dev extra")
    built = subprocess.run([kubectl, "kustomize", str(BASE)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(built.stdout)}


@pytest.fixture
def pod(documents: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = documents["StatefulSet", "eyecatch"]["spec"]["template"]["spec"]
    return spec


def test_every_document_is_valid(documents: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert {kind for kind, _ in documents} == {
        "ServiceAccount",
        "Service",
        "StatefulSet",
        "PodDisruptionBudget",
        "NetworkPolicy",
    }
    for document in documents.values():
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_a_misspelt_field_would_be_found(documents: dict[tuple[str, str], dict[str, Any]]) -> None:
    broken = {**documents["Service", "eyecatch"], "specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


def test_selectors_find_the_pod_and_nothing_else(documents: dict[tuple[str, str], dict[str, Any]]) -> None:
    labels = documents["StatefulSet", "eyecatch"]["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= APP.items()
    assert documents["StatefulSet", "eyecatch"]["spec"]["selector"]["matchLabels"] == APP
    assert documents["Service", "eyecatch"]["spec"]["selector"] == APP
    assert documents["Service", "eyecatch-pods"]["spec"]["selector"] == APP
    assert documents["PodDisruptionBudget", "eyecatch"]["spec"]["selector"] == {"matchLabels": APP}
    policy = documents["NetworkPolicy", "eyecatch"]["spec"]
    assert policy["podSelector"] == {"matchLabels": APP}
    assert policy["egress"][0]["to"][0]["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}


def test_ports_and_probes_are_the_programs_defaults(
    documents: dict[tuple[str, str], dict[str, Any]], pod: dict[str, Any]
) -> None:
    (container,) = pod["containers"]
    port = Config().port
    health = int(container["args"][container["args"].index("--health-port") + 1])
    ports = [{"name": "grpc", "containerPort": port}, {"name": "health", "containerPort": health}]
    assert container["ports"] == ports
    assert {container[f"{name}Probe"]["grpc"]["port"] for name in ("startup", "readiness", "liveness")} == {health}
    for name in ("eyecatch", "eyecatch-pods"):
        assert [p["port"] for p in documents["Service", name]["spec"]["ports"]] == [port]
    assert documents["NetworkPolicy", "eyecatch"]["spec"]["ingress"][0]["ports"][0]["port"] == port
    assert documents["StatefulSet", "eyecatch"]["spec"]["serviceName"] == "eyecatch-pods"


def test_the_command_line_is_one_the_program_knows(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    verb, *rest = container["args"]
    flags = {
        f"EYECATCH_{flag.removeprefix('--').replace('-', '_').upper()}": value
        for flag, value in zip(rest[::2], rest[1::2], strict=True)
    }
    config = resolved(Config, {}, flags)
    assert verb == "serve"
    assert config.host == "0.0.0.0"
    assert config.data_dir in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["image"].endswith(f":{__version__}")


def test_running_calls_may_finish_before_the_pod_is_killed(pod: dict[str, Any]) -> None:
    assert pod["terminationGracePeriodSeconds"] >= Config().grace_s + Config().drain_s + 10


def test_the_pod_is_confined(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
