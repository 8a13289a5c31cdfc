"""Each combination of components is built by kustomize, and strict schemas of each version of Kubernetes accept it."""

import json
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest

from tests.unit.deploy.kustomize import K8S, LAPTOP, PRODUCTION, Document, built

VERSIONS = [f"1.{minor}" for minor in range(31, 38)]
ALWAYS = ["cluster", "server"]
OPTIONAL = ["ingest", "generate", "triton", "clusters-fit", "clusters-generate", "evaluate", "ray", "monitoring"]
EVERYTHING = [*ALWAYS, *OPTIONAL, "checkpoint"]
COMBINATIONS = {
    "everything": EVERYTHING,
    "everything, the starter": [*ALWAYS, *OPTIONAL],
    **{f"{name} alone": [*ALWAYS, name] for name in OPTIONAL},
    **{f"all but {name}": [*ALWAYS, *(each for each in OPTIONAL if each != name), "checkpoint"] for name in OPTIONAL},
}
SCHEMAS = {
    schema["title"]: schema
    for schema in map(json.loads, (p.read_text() for p in sorted((Path(__file__).parent / "schemas").glob("*.json"))))
}
"""Of the resources that operators bring: only the fields that are used here, written from the operators' documentation."""


def check(document: Document) -> None:
    """Raises ValidationError. Most documents are in many combinations, and are validated once."""
    _check(json.dumps(document))


@cache
def _check(text: str) -> None:
    document = json.loads(text)
    if document["kind"] in SCHEMAS:
        jsonschema.validate(document, SCHEMAS[document["kind"]])
    else:
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("components", COMBINATIONS.values(), ids=COMBINATIONS)
def test_a_combination_is_valid(components: list[str], tmp_path: Path) -> None:
    for document in built(PRODUCTION, tmp_path, components):
        check(document)


@pytest.mark.parametrize("overlay", [LAPTOP, PRODUCTION])
def test_an_overlay_is_valid(overlay: str, tmp_path: Path) -> None:
    for document in built(overlay, tmp_path):
        check(document)


def test_templates_of_pods_inside_a_rayjob_are_valid(tmp_path: Path) -> None:
    (job,) = [d for d in built(PRODUCTION, tmp_path, EVERYTHING) if d["kind"] == "RayJob"]
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        metadata = {"name": "x", **group["template"]["metadata"]}
        check({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": group["template"]["spec"]})


@pytest.mark.parametrize(
    "kind", ["Service", "ScaledObject", "PodMonitor", "PrometheusRule", "TriggerAuthentication", "RayJob"]
)
def test_a_misspelt_field_would_be_found(kind: str, tmp_path: Path) -> None:
    document = next(d for d in built(PRODUCTION, tmp_path, EVERYTHING) if d["kind"] == kind)
    document["spec"]["specs"] = 1
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        check(document)


def test_each_component_is_in_a_combination() -> None:
    components = {path.name for path in (K8S / "components").iterdir()}
    assert components == {*EVERYTHING, "embedded"}


def test_no_manifest_is_longer_than_a_screen_or_three() -> None:
    long = {p.name: len(p.read_text().splitlines()) for p in K8S.rglob("*.yaml")}
    assert {name: lines for name, lines in long.items() if lines > 160} == {}
