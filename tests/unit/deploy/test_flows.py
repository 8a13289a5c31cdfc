"""The policies let through what the workloads need, and nothing else; the check finds each rule that is removed or widened."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import pytest

from tests.unit.deploy.flows import Flow, allowed, ends, needed
from tests.unit.deploy.kustomize import LAPTOP, PRODUCTION, Document, Pod, built, pods, secret
from tests.unit.deploy.test_combinations import EVERYTHING

Pods = Mapping[str, Pod]


@pytest.fixture(scope="module", params=[LAPTOP, PRODUCTION, "everything"])
def documents(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    folder = tmp_path_factory.mktemp("deploy")
    return built(PRODUCTION, folder, EVERYTHING) if request.param == "everything" else built(request.param, folder)


@pytest.fixture(scope="module")
def workloads(documents: list[Document]) -> Pods:
    return pods(documents, secret(PRODUCTION))


def policies(documents: list[Document]) -> list[Document]:
    return [document for document in documents if document["kind"] == "NetworkPolicy"]


def test_every_connection_that_is_needed_is_open(documents: list[Document], workloads: Pods) -> None:
    assert sorted(ends(needed(workloads, documents), workloads) - allowed(workloads, policies(documents))) == []


def test_no_other_connection_is_open(documents: list[Document], workloads: Pods) -> None:
    assert sorted(allowed(workloads, policies(documents)) - ends(needed(workloads, documents), workloads)) == []


def changed(policy: Document) -> Iterator[tuple[str, Document]]:
    """The policy with each rule, each peer and each port removed, and with each rule open to everybody or at every port."""
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for number, rule in enumerate(policy["spec"].get(direction) or []):
            where = f"{policy['metadata']['name']} {direction} {number}"
            yield f"{where} removed", _with(policy, direction, number, None)
            for part in (side, "ports"):
                values = rule.get(part, [])
                for index in range(len(values)) if len(values) > 1 else []:
                    fewer = values[:index] + values[index + 1 :]
                    yield f"{where} {part} {index} removed", _with(policy, direction, number, rule | {part: fewer})
                if values:
                    wide = {key: value for key, value in rule.items() if key != part}
                    yield f"{where} without {part}", _with(policy, direction, number, wide)


def _with(policy: Document, direction: str, number: int, rule: dict[str, Any] | None) -> Document:
    other = deepcopy(policy)
    other["spec"][direction][number : number + 1] = [] if rule is None else [rule]
    return other


def test_it_fails_when_any_rule_is_removed_or_widened(documents: list[Document], workloads: Pods) -> None:
    expected, unnoticed, tried = ends(needed(workloads, documents), workloads), [], 0
    own = policies(documents)
    for place, policy in enumerate(own):
        for what, other in [(f"{policy['metadata']['name']} removed", None), *changed(policy)]:
            tried += 1
            if allowed(workloads, [*own[:place], *([other] if other else []), *own[place + 1 :]]) == expected:
                unnoticed.append(what)
    assert tried > len(own)
    assert unnoticed == []


def test_needs_are_read_from_the_commands(tmp_path_factory: pytest.TempPathFactory) -> None:
    everything = built(PRODUCTION, tmp_path_factory.mktemp("deploy"), EVERYTHING)
    flows = needed(pods(everything, secret(PRODUCTION)), everything)
    assert {
        Flow("eyecatch", "redis", 6379),
        Flow("eyecatch", "eyecatch-triton", 8001),
        Flow("eyecatch-ingest", "kafka", 9093),
        Flow("eyecatch-generate", "object store", 443),
        Flow("prometheus", "eyecatch-generate", 9464),
        Flow("ray-worker", "eyecatch-triton", 8001),
    } <= flows
    assert not any(flow.source == "eyecatch-ingest" and flow.target == "eyecatch-triton" for flow in flows)
