"""Alert rules and dashboards ask for what is exported, and every alert has its section of the runbook."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests import fresh_docs
from tests.unit.deploy.kustomize import K8S, PRODUCTION, Document, built, pods, secret

ROOT = Path(__file__).parents[3]
MONITORING = K8S / "components" / "monitoring"
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
SERIES = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "gauge": [""], "info": ["_info"]}
ADDED = {"job", "instance"}
"""Labels that Prometheus adds to what it scrapes."""
WORDS = {
    "and",
    "or",
    "unless",
    "on",
    "by",
    "offset",
    "group_left",
    "sum",
    "max",
    "count",
    "rate",
    "increase",
    "changes",
}
WORDS |= {"histogram_quantile", "absent"}


def rules() -> list[Document]:
    files = sorted((MONITORING / "rules").glob("*.yaml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["spec"]["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, Document]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    for path in DASHBOARDS:
        yield from (target["expr"] for panel in json.loads(path.read_text())["panels"] for target in panel["targets"])


def exported() -> dict[str, set[str]]:
    """Each series that a rule may ask for, with its labels."""
    recorded = {rule["record"]: set[str]() for rule in rules() if "record" in rule}
    out = {"up": set[str](), **recorded}
    for family, labels in (each for families in fresh_docs.metrics().values() for each in families):
        for ending in SERIES[family.type]:
            buckets = {"le"} if ending == "_bucket" else set()
            out[family.name + ending] = {*labels, *buckets}
    return out


def named(query: str) -> tuple[set[str], set[str]]:
    """Series and labels of a query: what stands before a { or alone, and what stands in braces and after `by`."""
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query))
    for names in re.findall(r"\b(?:by|on)\s*\((.*?)\)", query):
        labels |= {name.strip() for name in names.split(",") if name.strip()}
    bare = re.sub(r"\b(?:by|on)\s*\(.*?\)|\{.*?\}|\[.*?\]", " ", query, flags=re.S)
    names = set(re.findall(r"(?<![\w.])[a-zA-Z_:][\w:]*", bare)) - WORDS
    return {name for name in names if not re.fullmatch(r"\d+[smh]", name)}, labels


@pytest.mark.parametrize("query", [*queries()])
def test_a_query_asks_for_series_and_labels_that_are_exported(query: str) -> None:
    series, labels = named(query)
    known = exported()
    assert series
    assert series <= known.keys()
    assert labels <= ADDED.union(*(known[name] for name in series))


@pytest.mark.parametrize("query", [*queries()])
def test_a_query_is_promql(query: str) -> None:
    promql_parser.parse(query.replace("$__rate_interval", "5m"))


def test_a_method_that_a_query_names_exists() -> None:
    names = {name for query in queries() for name in re.findall(r'rpc_method="(.*?)"', query)}
    assert names
    assert names <= fresh_docs.RIGHTS.keys()


def test_each_alert_has_a_section_of_the_runbook_and_each_section_an_alert() -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.M)
    assert sorted(sections) == sorted(alerts())


def test_an_alert_links_to_its_section() -> None:
    links = {name: rule["annotations"]["runbook_url"] for name, rule in alerts().items()}
    assert links == {name: f"docs/runbook.md#{name.lower()}" for name in links}


def test_each_section_says_what_to_do() -> None:
    _, *sections = (ROOT / "docs" / "runbook.md").read_text().split("\n## ")
    parts = ["Meaning", "Users notice", "Look at", "Mend"]
    assert all(re.findall(r"^\* \*\*(.*?)\*\*: \S", section, re.M) == parts for section in sections)


def test_memory_alerts_before_the_limit(tmp_path: Path) -> None:
    workloads = pods(built(PRODUCTION, tmp_path), secret(PRODUCTION))
    query = alerts()["EyecatchMemory"]["expr"]
    marks = {
        "serve": "eyecatch_cached_items",
        "ingest": "eyecatch_ingest_partitions",
        "generate": "eyecatch_generate_running_jobs",
    }
    for verb, mark in marks.items():
        (pod,) = [pod for pod in workloads.values() if pod.verb == verb]
        limit = pod.container["resources"]["limits"]["memory"]
        (threshold,) = re.findall(rf"{mark}\) > ([\d.e]+)", query)
        assert 0.8 <= float(threshold) / (int(limit.removesuffix("Gi")) * 2**30) <= 0.9


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_has_a_stable_uid_units_and_a_datasource_to_choose(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == f"eyecatch-{path.stem}"
    assert [variable["type"] for variable in dashboard["templating"]["list"]] == ["datasource"]
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in dashboard["panels"])
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in dashboard["panels"])


def test_dashboards_and_rules_are_part_of_the_component(tmp_path: Path) -> None:
    documents = built(PRODUCTION, tmp_path)
    (shown,) = [d["data"] for d in documents if d["metadata"]["name"] == "eyecatch-dashboards"]
    applied: list[Any] = [d["spec"]["groups"] for d in documents if d["kind"] == "PrometheusRule"]
    names = {rule["alert"] for groups in applied for group in groups for rule in group["rules"] if "alert" in rule}
    assert sorted(shown) == [path.name for path in DASHBOARDS]
    assert names == alerts().keys()
