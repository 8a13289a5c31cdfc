"""The components of jobs: a Job, CronJobs and a RayJob, each built over the base, valid, and in agreement with the command line."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from eyecatch import __version__
from eyecatch.config import Config
from eyecatch.settings import resolved

from tests.fresh_docs import commands_and_flags
from tests.unit.deploy.kustomize import built
from tests.unit.deploy.test_k8s import BASE, VERSION

COMPONENTS = {
    "clusters-generate": {"Job", "PersistentVolumeClaim", "NetworkPolicy"},
    "evaluate": {"CronJob", "PersistentVolumeClaim", "NetworkPolicy"},
    "ray": {"RayJob", "PersistentVolumeClaim", "NetworkPolicy"},
}
RAY_JOB = {
    *("entrypoint", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"),
    "rayClusterSpec",
}
"""Fields of KubeRay's RayJobSpec that are used; its schema is not at hand."""
Documents = list[dict[str, Any]]


@pytest.fixture(scope="module", params=list(COMPONENTS))
def component(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def documents(component: str, tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """Those that the component adds to the base."""
    base = {"eyecatch", "eyecatch-pods"}
    return [d for d in built(BASE, component, tmp_path_factory.mktemp("deploy")) if d["metadata"]["name"] not in base]


def templates(documents: Documents) -> Iterator[dict[str, Any]]:
    """The template of each pod."""
    for document in documents:
        spec = document["spec"]
        if document["kind"] == "Job":
            yield spec["template"]
        elif document["kind"] == "CronJob":
            yield spec["jobTemplate"]["spec"]["template"]
        elif document["kind"] == "RayJob":
            cluster = spec["rayClusterSpec"]
            yield cluster["headGroupSpec"]["template"]
            yield from (group["template"] for group in cluster["workerGroupSpecs"])


def commands(documents: Documents) -> Iterator[list[str]]:
    """The words of each command, without the program."""
    for template in templates(documents):
        if "args" in template["spec"]["containers"][0]:
            yield template["spec"]["containers"][0]["args"]
    for document in documents:
        if document["kind"] == "RayJob":
            program, *words = document["spec"]["entrypoint"].split()
            assert program == "/opt/eyecatch/bin/eyecatch"
            yield words


def test_every_document_is_valid(component: str, documents: Documents) -> None:
    assert {document["kind"] for document in documents} == COMPONENTS[component]
    for document in documents:
        if document["kind"] == "RayJob":
            assert (document["apiVersion"], set(document["spec"])) == ("ray.io/v1", RAY_JOB)
        else:
            kubernetes_validate.validate(document, VERSION, strict=True)
    for template in templates(documents):  # KubeRay makes pods of these
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", **template["metadata"]}}
        kubernetes_validate.validate({**pod, "spec": template["spec"]}, VERSION, strict=True)


def test_the_commands_are_ones_that_the_program_knows(documents: Documents) -> None:
    known = {heading.split("\n")[0]: rows for heading, rows in commands_and_flags().items()}
    lines = list(commands(documents))
    assert lines
    for group, verb, *rest in lines:
        flags = {flag for shown, _ in known[f"eyecatch {group} {verb}"] for flag in shown.split(", ")}
        assert len(rest) % 2 == 0
        assert set(rest[::2]) <= flags


def test_state_and_images_are_shared_and_results_outlive_a_pod(documents: Documents) -> None:
    claims = {d["metadata"]["name"] for d in documents if d["kind"] == "PersistentVolumeClaim"}
    used = set()
    for template in templates(documents):
        spec, (container,) = template["spec"], template["spec"]["containers"]
        config = resolved(Config, {}, {e["name"]: e["value"] for e in container["env"] if "value" in e})
        assert config.store.startswith("redis://")
        assert "://" in config.blobs
        assert container["image"].endswith(f":{__version__}")
        volumes = {v["name"]: v for v in spec["volumes"]}
        mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
        assert set(mounts.values()) == set(volumes)
        used |= {v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v}
    assert used == claims
    folders = [words[words.index(flag) + 1] for words in commands(documents) for flag in ("--out",) if flag in words]
    folders += [words[words.index("--data-dir") + 1] for words in commands(documents) if "--out" not in words]
    assert all(Path(folder).is_relative_to("/var/lib/eyecatch") for folder in folders)


def test_attempts_of_a_nightly_job_share_a_folder_that_other_nights_do_not(documents: Documents) -> None:
    for document in documents:
        if document["kind"] != "CronJob":
            continue
        (container,) = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        assert "/var/lib/eyecatch/$(JOB_NAME)" in container["args"]
        (name,) = [e for e in container["env"] if e["name"] == "JOB_NAME"]
        assert name["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['batch.kubernetes.io/job-name']"
        assert document["spec"]["concurrencyPolicy"] == "Forbid"


def test_the_pods_are_confined_and_found_by_their_policy(documents: Documents) -> None:
    (policy,) = [d["spec"] for d in documents if d["kind"] == "NetworkPolicy"]
    for template in templates(documents):
        spec, (container,) = template["spec"], template["spec"]["containers"]
        assert policy["podSelector"]["matchLabels"] == template["metadata"]["labels"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def test_the_ray_cluster_is_of_the_version_in_the_image_and_opens_no_port_to_others(documents: Documents) -> None:
    for document in documents:
        if document["kind"] != "RayJob":
            continue
        assert document["spec"]["rayClusterSpec"]["rayVersion"] == version("ray")
        (worker,) = document["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        (container,) = worker["template"]["spec"]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        (policy,) = [d["spec"] for d in documents if d["kind"] == "NetworkPolicy"]
        own, operator = policy["ingress"]
        assert own["from"] == [{"podSelector": policy["podSelector"]}]
        assert [port["port"] for port in operator["ports"]] == [8265]
    lock = (BASE.parents[1] / "locks" / "worker.txt").read_text()
    assert f"\nray=={version('ray')} " in lock
    assert "\naiohttp-cors==" in lock, "KubeRay submits over Ray's dashboard"
