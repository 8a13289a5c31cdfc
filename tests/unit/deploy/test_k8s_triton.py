"""The component of Triton: built over the base, valid, and in agreement with the program and the model repository."""

import re
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

from tests.triton import REPOSITORY, Triton
from tests.unit.deploy.test_k8s import BASE, VERSION

NAME = "eyecatch-triton"
Documents = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    assert kubectl is not None, "no kubectl: install the dev extra"
    k8s = shutil.copytree(BASE.parent, tmp_path_factory.mktemp("deploy") / "k8s")
    overlay = k8s / "overlay"
    overlay.mkdir()
    overlay.joinpath("kustomization.yaml").write_text("resources: [../base]\ncomponents: [../components/triton]\n")
    built = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(built.stdout)}


def test_every_document_is_valid(documents: Documents) -> None:
    assert {(kind, NAME) for kind in ("StatefulSet", "Service", "NetworkPolicy")} < documents.keys()
    for document in documents.values():
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_eyecatch_asks_the_pod_and_may_reach_it(documents: Documents) -> None:
    (server,) = documents["StatefulSet", "eyecatch"]["spec"]["template"]["spec"]["containers"]
    config = resolved(Config, {}, {e["name"]: e["value"] for e in server["env"] if "value" in e})
    assert config.triton_servers() == [f"{NAME}-0.{NAME}:8001"]
    egress = documents["NetworkPolicy", "eyecatch"]["spec"]["egress"][-1]
    assert [p["port"] for p in egress["ports"]] == [8001]
    labels = documents["StatefulSet", NAME]["spec"]["template"]["metadata"]["labels"]
    assert egress["to"][0]["podSelector"]["matchLabels"] == labels
    assert documents["Service", NAME]["spec"]["selector"] == labels
    assert documents["Service", "eyecatch"]["spec"]["selector"] != labels
    assert documents["StatefulSet", NAME]["spec"]["serviceName"] == NAME
    (triton,) = documents["StatefulSet", NAME]["spec"]["template"]["spec"]["containers"]
    assert [p["containerPort"] for p in triton["ports"]] == [8001, 8002]
    assert not any(e["name"] == "EYECATCH_TRITON" for e in triton["env"])
    assert triton["image"].endswith(f":{__version__}")


def test_the_pod_is_confined(documents: Documents) -> None:
    pod = documents["StatefulSet", NAME]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_liveness_probe_counts_the_processes_of_the_models(documents: Documents, triton_server: Triton) -> None:
    """With the real server: one process for each model, under the name that the probe looks for."""
    (container,) = documents["StatefulSet", NAME]["spec"]["template"]["spec"]["containers"]
    command = container["livenessProbe"]["exec"]["command"]
    assert subprocess.run(command, check=False).returncode == 0
    stats = [Path(f"/proc/{pid}/stat").read_text() for pid in triton_server.model_processes()]
    (pattern,) = re.findall(r'grep -c "(.*?)"', command[-1])
    assert all(
        subprocess.run(["grep", "-q", pattern], input=stat, text=True, check=False).returncode == 0 for stat in stats
    )
    dead = re.sub(r"\) \w ", ") Z ", stats[0])
    assert subprocess.run(["grep", "-q", pattern], input=dead, text=True, check=False).returncode == 1
    models = len([path for path in REPOSITORY.iterdir() if (path / "config.pbtxt").is_file()])
    assert f"-ge {models}" in command[-1]
    assert len(stats) == models
    assert triton_server.process.poll() is None
