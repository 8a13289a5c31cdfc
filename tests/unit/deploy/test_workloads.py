"""The workloads agree with the program: command lines, ports, probes, stores and times; and they are confined."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
from eyecatch import __version__
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput
from eyecatch.reader_config import GenerateConfig, IngestConfig
from eyecatch.settings import PREFIX, resolved

from tests.unit.deploy.kustomize import K8S, LAPTOP, PRODUCTION, READS, Document, Pod, built, pods, secret
from tests.unit.deploy.test_combinations import EVERYTHING

Pods = Mapping[str, Pod]
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@pytest.fixture(scope="module", params=[LAPTOP, PRODUCTION, "everything"])
def overlay(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def documents(overlay: str, tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    folder = tmp_path_factory.mktemp("deploy")
    return built(PRODUCTION, folder, EVERYTHING) if overlay == "everything" else built(overlay, folder)


@pytest.fixture(scope="module")
def workloads(documents: list[Document], overlay: str) -> Pods:
    return pods(documents, secret(LAPTOP if overlay == LAPTOP else PRODUCTION))


def own(workloads: Pods) -> list[Pod]:
    return [pod for pod in workloads.values() if pod.name != "eyecatch-triton"]


def test_command_lines_are_parsed_by_the_program(workloads: Pods) -> None:
    for pod in own(workloads):
        assert pod.verb, f"{pod.name}: add its command to READS"
        pod.settings(READS[pod.verb])


def test_all_have_one_store(workloads: Pods, overlay: str) -> None:
    (store,) = {pod.settings(READS[pod.verb]).store for pod in own(workloads)}
    assert store.startswith("redis://") or (overlay == LAPTOP and store == "")


def test_servers_and_workers_share_what_they_must(workloads: Pods) -> None:
    server = workloads["eyecatch"].settings(Config)
    if "eyecatch-generate" in workloads:
        worker = workloads["eyecatch-generate"].settings(GenerateConfig)
        assert server.generation == "workers"
        assert (worker.requests_topic, worker.kafka, worker.blobs) == (
            server.requests_topic,
            server.kafka,
            server.blobs,
        )
        assert (worker.triton, worker.made_covers) == (server.triton, server.made_covers)
        assert "://" in worker.blobs
    if "eyecatch-ingest" in workloads:
        assert workloads["eyecatch-ingest"].settings(IngestConfig).events_topic == server.events_topic


def test_all_have_one_checkpoint(workloads: Pods, overlay: str) -> None:
    assert {pod.environ.get("EYECATCH_CHECKPOINT") for pod in workloads.values()} == {
        None if overlay == LAPTOP else "/checkpoint"
    }


def test_servers_fit_no_clusters_where_a_cron_job_does(workloads: Pods) -> None:
    assert (workloads["eyecatch"].settings(Config).clusters_every_s == 0) is ("eyecatch-clusters-fit" in workloads)


def test_other_hosts_need_a_token(workloads: Pods) -> None:
    assert workloads["eyecatch"].settings(Config).api_token


def test_ports_and_probes_are_those_of_the_command_line(workloads: Pods) -> None:
    for pod in own(workloads):
        ports = {each["name"]: each["containerPort"] for each in pod.container.get("ports", [])}
        probes = {name: pod.container[name] for name in PROBES if name in pod.container}
        if pod.verb == "serve":
            config = pod.settings(Config)
            assert ports == {"grpc": config.port, "health": config.health_port, "metrics": config.metrics_port}
            assert [probe["grpc"] for probe in probes.values()] == [{"port": config.health_port}] * 3
            assert config.host == "0.0.0.0"
        elif pod.verb in ("ingest", "generate"):
            config = pod.settings(READS[pod.verb])
            assert (ports, config.health_host) == ({"metrics": config.health_port}, "0.0.0.0")
            assert probes["readinessProbe"]["httpGet"] == {"path": "/health", "port": "metrics"}


def test_running_work_may_finish_before_a_pod_is_killed(workloads: Pods) -> None:
    for pod in workloads.values():
        least = 0.0
        if pod.verb == "serve":
            least = pod.settings(Config).grace_s + pod.settings(Config).drain_s + 10
        elif pod.verb in ("ingest", "generate"):
            least = pod.settings(READS[pod.verb]).drain_s + 10
        elif not pod.verb:
            (least,) = [float(w.partition("=")[2]) + 10 for w in pod.command if w.startswith("--exit-timeout-secs=")]
        assert pod.spec.get("terminationGracePeriodSeconds", 30) >= least, pod.name


def test_the_name_of_the_service_is_no_setting(workloads: Pods, documents: list[Document]) -> None:
    """Kubernetes gives pods variables of the services around them unless told not to, and EYECATCH_PORT is one of ours."""
    assert "eyecatch" in {d["metadata"]["name"] for d in documents if d["kind"] == "Service"}
    with pytest.raises(InvalidInput):
        resolved(Config, {}, {"EYECATCH_PORT": "tcp://10.96.0.1:50051"})
    assert [pod.name for pod in workloads.values() if pod.spec.get("enableServiceLinks") is not False] == []


def test_pods_are_confined(workloads: Pods) -> None:
    for pod in workloads.values():
        assert pod.spec["automountServiceAccountToken"] is False
        context = pod.spec["securityContext"]
        assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        for container in [*pod.spec["containers"], *pod.spec.get("initContainers", [])]:
            assert container["securityContext"] == CONFINED
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]


def test_folders_that_a_command_writes_to_are_volumes(workloads: Pods) -> None:
    for pod in own(workloads):
        mounts = {mount["mountPath"] for mount in pod.container["volumeMounts"] if not mount.get("readOnly")}
        flags = pod.flags()
        for folder in [str(flags["data_dir"]), *([str(flags["out"])] if flags.get("out") else [])]:
            # A Ray job's command runs on the head.
            assert any(folder.startswith(mount) for mount in mounts) or pod.name == "ray-worker"


def test_images_have_this_version(workloads: Pods) -> None:
    for pod in workloads.values():
        for container in [*pod.spec["containers"], *pod.spec.get("initContainers", [])]:
            assert container["image"].endswith(f":{__version__}")


def test_whatever_a_document_names_exists(documents: list[Document], workloads: Pods) -> None:
    names: dict[str, set[str]] = {}
    for document in documents:
        names.setdefault(document["kind"], set()).add(document["metadata"]["name"])
    for pod in workloads.values():
        assert pod.spec["serviceAccountName"] in names["ServiceAccount"]
        assert pod.spec.get("priorityClassName") in names.get("PriorityClass", {None})
        claims = [v["persistentVolumeClaim"]["claimName"] for v in pod.spec["volumes"] if "persistentVolumeClaim" in v]
        assert set(claims) <= names.get("PersistentVolumeClaim", set())
    for document in documents:
        if document["kind"] in ("PodDisruptionBudget", "Service"):
            spec = document["spec"]["selector"]
            selector = spec.get("matchLabels", spec)
            assert any(selector.items() <= pod.labels.items() for pod in workloads.values()), document["metadata"][
                "name"
            ]


def test_selectors_of_workloads_do_not_overlap(documents: list[Document], workloads: Pods) -> None:
    for document in documents:
        if document["kind"] in ("Deployment", "StatefulSet"):
            selector = document["spec"]["selector"]["matchLabels"].items()
            assert [p.name for p in workloads.values() if selector <= p.labels.items()] == [
                document["metadata"]["name"]
            ]


def test_each_variable_of_the_settings_is_one_of_the_program() -> None:
    known = {PREFIX + f.name.upper() for kind in READS.values() for f in fields(kind)}
    lines = (K8S / "overlays" / PRODUCTION / "settings.env").read_text().splitlines()
    named = {line.partition("=")[0] for line in lines if line.startswith(PREFIX)}
    assert named - known == set()


def test_replicas_spread(workloads: Pods, overlay: str) -> None:
    for name in ("eyecatch", "eyecatch-ingest", "eyecatch-generate", "eyecatch-triton"):
        if overlay != LAPTOP and name in workloads:
            constraints: list[Any] = workloads[name].spec["topologySpreadConstraints"]
            selectors = [each["labelSelector"]["matchLabels"] for each in constraints]
            assert selectors == [{"app.kubernetes.io/name": name}] * len(selectors)
