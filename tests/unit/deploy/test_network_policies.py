"""The evaluator of NetworkPolicies follows the semantics of networking.k8s.io/v1."""

from typing import Any

import pytest

from tests.unit.deploy.network_policies import Cluster, End

A = End("a", "one", {"app": "a"}, ports={"web": 80})
B = End("b", "one", {"app": "b"}, ports={"web": 8080})
OTHER = End("other", "two", {"app": "a"})
OUTSIDE = End("outside", address="52.1.1.1")


def policy(spec: dict[str, Any], namespace: str = "one") -> Cluster:
    selects = {"podSelector": {"matchLabels": {"app": "b"}}}
    return Cluster([{"metadata": {"name": "x", "namespace": namespace}, "spec": selects | spec}])


def enters(spec: dict[str, Any], source: End = A, port: int = 80, protocol: str = "TCP") -> bool:
    return policy(spec).allows("Ingress", source, B, port, protocol)


def test_a_pod_without_a_policy_is_open() -> None:
    assert policy({"ingress": []}).allows("Ingress", B, A, 80)


def test_a_pod_of_another_namespace_is_not_selected() -> None:
    assert policy({"ingress": []}, namespace="two").allows("Ingress", A, B, 80)


def test_a_selected_pod_is_closed_without_a_rule() -> None:
    assert not enters({"ingress": []})


def test_a_policy_of_ingress_leaves_egress_open() -> None:
    assert policy({"ingress": []}).allows("Egress", B, A, 80)


def test_egress_without_types_is_a_type_too() -> None:
    assert not policy({"egress": []}).allows("Egress", B, A, 80)


def test_policies_add_up() -> None:
    closed, opened = policy({"ingress": []}), policy({"ingress": [{}]})
    assert Cluster([*closed.policies, *opened.policies]).allows("Ingress", A, B, 80)


@pytest.mark.parametrize(
    ("peer", "source", "open"),
    [
        ({"podSelector": {}}, A, True),
        ({"podSelector": {}}, OTHER, False),
        ({"podSelector": {"matchLabels": {"app": "b"}}}, A, False),
        ({"namespaceSelector": {}}, OTHER, True),
        ({"namespaceSelector": {}}, OUTSIDE, False),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "two"}}}, A, False),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "b"}}}, OTHER, False),
        ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}}, A, False),
        ({"podSelector": {"matchExpressions": [{"key": "no", "operator": "NotIn", "values": ["a"]}]}}, A, True),
        ({"ipBlock": {"cidr": "0.0.0.0/0"}}, OUTSIDE, True),
        ({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["52.0.0.0/8"]}}, OUTSIDE, False),
        ({"ipBlock": {"cidr": "0.0.0.0/0"}}, A, True),
    ],
)
def test_a_peer(peer: dict[str, Any], source: End, open: bool) -> None:
    assert enters({"ingress": [{"from": [peer]}]}, source) is open


@pytest.mark.parametrize(
    ("ports", "port", "protocol", "open"),
    [
        ([], 80, "TCP", True),
        ([{"port": 80}], 80, "TCP", True),
        ([{"port": 80}], 81, "TCP", False),
        ([{"port": 80}], 80, "UDP", False),
        ([{"protocol": "UDP"}], 80, "UDP", True),
        ([{"port": 80, "endPort": 90}], 85, "TCP", True),
        ([{"port": "web"}], 8080, "TCP", True),
        ([{"port": "web"}], 80, "TCP", False),
        ([{"port": "unknown"}], 80, "TCP", False),
    ],
)
def test_ports(ports: list[dict[str, Any]], port: int, protocol: str, open: bool) -> None:
    assert enters({"ingress": [{"ports": ports}]}, port=port, protocol=protocol) is open


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(ValueError, match="Gt"):
        enters({"ingress": [{"from": [{"podSelector": {"matchExpressions": [{"key": "app", "operator": "Gt"}]}}]}]})
