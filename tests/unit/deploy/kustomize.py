"""What kubectl builds of an overlay, its workloads, and what their command lines say to the program."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from eyecatch.cli import app
from eyecatch.config import Config, MakingConfig, StoreConfig
from eyecatch.kafka_config import BrokerConfig
from eyecatch.reader_config import GenerateConfig, IngestConfig
from eyecatch.settings import Settings, resolved
from typer.main import get_command

K8S = Path(__file__).parents[3] / "deploy" / "k8s"
LAPTOP, PRODUCTION = "laptop", "production"
Document = dict[str, Any]

READS: dict[str, type[Settings]] = {
    "serve": Config,
    "ingest": IngestConfig,
    "generate": GenerateConfig,
    "evaluate recall": MakingConfig,
    "evaluate policy": StoreConfig,
    "clusters fit": StoreConfig,
    "clusters generate": MakingConfig,
}
"""Commands -> the settings that say which servers they reach: MakingConfig adds blobs and Triton to the store."""


def built(overlay: str, folder: Path, components: Sequence[str] | None = None) -> list[Document]:
    """All documents of an overlay. folder: an empty one to build in; components: in place of the overlay's own."""
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    assert kubectl is not None, "no kubectl: install the dev extra"
    root = shutil.copytree(K8S, folder / "k8s") / "overlays" / overlay
    if components is not None:
        file = root / "kustomization.yaml"
        text = yaml.safe_load(file.read_text()) | {"components": [f"../../components/{name}" for name in components]}
        file.write_text(yaml.safe_dump(text))
    done = subprocess.run([kubectl, "kustomize", str(root)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [*yaml.safe_load_all(done.stdout)]


def secret(overlay: str) -> dict[str, str]:
    """The Secret that the overlay's example makes."""
    lines = (K8S / "overlays" / overlay / "secret.example.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@dataclass(frozen=True)
class Pod:
    """A template of pods. `command`: the program's words, from its own container or from the RayJob around it; none for Triton."""

    name: str
    labels: Mapping[str, str]
    spec: Document
    environ: Mapping[str, str]
    command: Sequence[str]

    @property
    def container(self) -> Document:
        container: Document = self.spec["containers"][0]
        return container

    @property
    def verb(self) -> str:
        """The command's name, "" for Triton."""
        return next((verb for verb in READS if self.command[: len(verb.split())] == verb.split()), "")

    def flags(self) -> dict[str, Any]:
        """The flags as the program's own parser reads them; None where the command line has none. Raises its usage error."""
        command, words = get_command(app), [word.replace("$(JOB_NAME)", "job") for word in self.command]
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
        return dict(command.make_context(self.verb, words).params)

    def settings(self, kind: type[Settings]) -> Any:
        """The settings with which the command would run. Raises InvalidInput."""
        return resolved(kind, self.flags(), self.environ)


def pods(documents: Sequence[Document], secrets: Mapping[str, str]) -> dict[str, Pod]:
    """The pods of each workload, by its name; those of a RayJob by the names of their containers."""
    workloads = [_pod(name, command, template, documents, secrets) for name, command, template in _templates(documents)]
    return {pod.name: pod for pod in workloads}


def _templates(documents: Sequence[Document]) -> Iterator[tuple[str, list[str] | None, Document]]:
    for document in documents:
        name, spec = document["metadata"]["name"], document.get("spec", {})
        match document["kind"]:
            case "Deployment" | "StatefulSet" | "Job":
                yield name, None, spec["template"]
            case "CronJob":
                yield name, None, spec["jobTemplate"]["spec"]["template"]
            case "RayJob":
                command = spec["entrypoint"].split()[1:]
                cluster = spec["rayClusterSpec"]
                for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
                    yield group["template"]["spec"]["containers"][0]["name"], command, group["template"]


def _pod(
    name: str, command: list[str] | None, template: Document, documents: Sequence[Document], secrets: Mapping[str, str]
) -> Pod:
    container = template["spec"]["containers"][0]
    words = command or container.get("args", [])
    environ = environment(container, documents, secrets)
    return Pod(name, template["metadata"]["labels"], template["spec"], environ, words)


def environment(container: Document, documents: Sequence[Document], secrets: Mapping[str, str]) -> dict[str, str]:
    """What the container sees. Raises KeyError for a ConfigMap or a required secret that is nowhere."""
    maps = {d["metadata"]["name"]: d["data"] for d in documents if d["kind"] == "ConfigMap"}
    environ: dict[str, str] = {}
    for source in container.get("envFrom", []):
        environ |= maps[source["configMapRef"]["name"]]
    for each in container.get("env", []):
        reference = each.get("valueFrom", {}).get("secretKeyRef")
        if reference:
            assert reference["name"] == "eyecatch"
            environ[each["name"]] = secrets[reference["key"]]
        else:
            environ[each["name"]] = each.get("value", "job")
    return environ


def brokers(pod: Pod) -> list[str]:
    """host:port of the brokers that the command connects to; none if it has no use for them."""
    kind = READS.get(pod.verb, StoreConfig)
    if not issubclass(kind, BrokerConfig):
        return []
    settings = pod.settings(kind)
    return list(settings.kafka_client()["bootstrap_servers"]) if settings.kafka else []
