"""Autoscalers ask for metrics, topics and groups that exist; jobs keep their results; a checkpoint is fetched; Ray is the image's."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from eyecatch.observe.calls import LABELS
from eyecatch.reader_config import GenerateConfig

from tests.unit.deploy.kustomize import PRODUCTION, READS, Document, Pod, built, environment, pods, secret
from tests.unit.deploy.test_combinations import EVERYTHING

ROOT = Path(__file__).parents[3]
ADDED = {"namespace"}
"""Labels that Prometheus adds to what it scrapes."""


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    return built(PRODUCTION, tmp_path_factory.mktemp("deploy"), EVERYTHING)


@pytest.fixture(scope="module")
def workloads(documents: list[Document]) -> dict[str, Pod]:
    return pods(documents, secret(PRODUCTION))


@pytest.fixture(scope="module")
def scaled(documents: list[Document]) -> list[Document]:
    return [document for document in documents if document["kind"] == "ScaledObject"]


def triggers(scaled: list[Document], kind: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        (document["spec"]["scaleTargetRef"]["name"], trigger["metadata"])
        for document in scaled
        for trigger in document["spec"]["triggers"]
        if trigger["type"] == kind
    ]


def test_a_scaled_workload_has_no_replicas_of_its_own(documents: list[Document], scaled: list[Document]) -> None:
    targets = {document["spec"]["scaleTargetRef"]["name"] for document in scaled}
    assert targets == {"eyecatch", "eyecatch-ingest", "eyecatch-generate"}
    deployments = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "Deployment"}
    assert not any("replicas" in deployments[target] for target in targets)


def test_only_what_can_wait_is_scaled_to_zero(scaled: list[Document]) -> None:
    least = {document["metadata"]["name"]: document["spec"]["minReplicaCount"] for document in scaled}
    assert [name for name, count in least.items() if count == 0] == ["eyecatch-generate"]


def test_queries_ask_for_metrics_that_are_exported(scaled: list[Document]) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    queries = triggers(scaled, "prometheus")
    assert len(queries) == 2
    for _, metadata in queries:
        for name, labels in re.findall(r"(\w+)\{(.*?)\}", metadata["query"]):
            assert f"`{name.removesuffix('_sum')}`" in page
            assert set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", labels)) <= {*LABELS, *ADDED}


def test_the_queue_is_seen_while_no_worker_runs(scaled: list[Document]) -> None:
    """A metric of the servers: nobody would export one of the workers."""
    (query,) = [
        metadata["query"] for target, metadata in triggers(scaled, "prometheus") if target == "eyecatch-generate"
    ]
    (name,) = re.findall(r"max\((\w+)", query)
    servers = (ROOT / "docs" / "metrics.md").read_text().split("\n## ")[1]
    assert servers.startswith("`eyecatch serve")
    assert f"`{name}`" in servers


def test_jobs_of_a_worker_are_those_that_the_autoscaler_counts_on(
    scaled: list[Document], workloads: dict[str, Pod]
) -> None:
    (threshold,) = [m["threshold"] for target, m in triggers(scaled, "prometheus") if target == "eyecatch-generate"]
    assert int(threshold) == workloads["eyecatch-generate"].settings(GenerateConfig).jobs


def test_lag_is_that_of_the_commands_topic_and_group(scaled: list[Document], workloads: dict[str, Pod]) -> None:
    queries = triggers(scaled, "kafka")
    assert len(queries) == 2
    for target, metadata in queries:
        settings = workloads[target].settings(READS[workloads[target].verb])
        topic = settings.events_topic if target == "eyecatch-ingest" else settings.requests_topic
        lag = (metadata["topic"], metadata["consumerGroup"], metadata["bootstrapServers"])
        assert lag == (topic, settings.group, settings.kafka)


def test_kedas_secrets_are_in_the_example(documents: list[Document]) -> None:
    (authentication,) = [d["spec"] for d in documents if d["kind"] == "TriggerAuthentication"]
    keys = {each["key"] for each in authentication["secretTargetRef"]}
    assert keys <= secret(PRODUCTION).keys()


def test_attempts_of_a_nightly_job_share_a_folder_that_other_nights_do_not(documents: list[Document]) -> None:
    nightly = [d for d in documents if d["kind"] == "CronJob" and d["metadata"]["name"] != "eyecatch-clusters-fit"]
    assert len(nightly) == 2
    for document in nightly:
        (container,) = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        assert "--out=/var/lib/eyecatch/$(JOB_NAME)" in container["args"]
        (name,) = [e for e in container["env"] if e["name"] == "JOB_NAME"]
        assert name["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['batch.kubernetes.io/job-name']"
        assert document["spec"]["concurrencyPolicy"] == "Forbid"


@pytest.mark.parametrize(
    ("parts", "names"), [("", ["eyecatch.json", "users", "vlm"]), ("users space", ["users"])], ids=["all", "some"]
)
def test_the_init_container_fetches_a_checkpoint(
    parts: str, names: list[str], workloads: dict[str, Pod], tmp_path: Path
) -> None:
    source, target = tmp_path / "models" / "v1", tmp_path / "checkpoint"
    for name in ("users", "vlm"):
        (source / name).mkdir(parents=True)
        (source / name / "config.json").write_text(name)
    (source / "eyecatch.json").write_text("{}")
    target.mkdir()
    (init,) = workloads["eyecatch-triton"].spec["initContainers"]
    script = init["args"][0].replace("/checkpoint/", f"{target}/")
    environ = {"CHECKPOINT_URL": f"file://{source}", "CHECKPOINT_PARTS": parts}
    subprocess.run([sys.executable, "-c", script], check=True, env=environ)
    assert sorted(path.name for path in target.iterdir()) == names
    assert (target / "users" / "config.json").read_text() == "users"


def test_only_who_draws_fetches_all_of_it(workloads: dict[str, Pod], documents: list[Document]) -> None:
    fetched = {
        name: environment(pod.spec["initContainers"][0], documents, secret(PRODUCTION))["CHECKPOINT_PARTS"]
        for name, pod in workloads.items()
    }
    assert [name for name, parts in fetched.items() if not parts] == ["eyecatch-triton"]
    assert all(pod.environ.get("EYECATCH_TRITON") for name, pod in workloads.items() if fetched[name])


def test_triton_waits_for_its_gpu_and_has_room_for_tensors(workloads: dict[str, Pod]) -> None:
    pod = workloads["eyecatch-triton"]
    assert pod.container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod.spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod.container["volumeMounts"]}
    (shared,) = [volume for volume in pod.spec["volumes"] if volume["name"] == mounts["/dev/shm"]]
    assert shared["emptyDir"]["medium"] == "Memory"


def test_ray_is_the_version_in_the_image(documents: list[Document]) -> None:
    (job,) = [document for document in documents if document["kind"] == "RayJob"]
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == version("ray")
    lock = (ROOT / "deploy" / "locks" / "worker.txt").read_text()
    assert f"\nray=={version('ray')} " in lock
    assert "\naiohttp-cors==" in lock, "KubeRay submits over Ray's dashboard"
