"""Whether Kubernetes' NetworkPolicies let one pod connect to another. Knows no manifest.

The semantics of networking.k8s.io/v1: a pod that no policy selects for a direction is open in it; one that some select is open to the union
of what their rules say. A connection needs both ends, which are asked one by one:
a rule that is too wide at one end is an error too. An ipBlock counts as matching pods too, whose addresses are in 10.0.0.0/8 here:
plugins differ, and the stricter reading finds more. Traffic of the node (probes) is always let through and is not asked about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any


@dataclass(frozen=True)
class End:
    """An end of a connection. `namespace` is "" for one outside the cluster. `ports`: names of the pod's ports -> numbers."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = "10.1.2.3"
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cluster:
    """The policies, and the labels of namespaces beside the one that each has by itself."""

    policies: Sequence[Mapping[str, Any]]
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def allows(self, direction: str, source: End, target: End, port: int, protocol: str = "TCP") -> bool:
        """Whether the policies of one end let the connection through: those of the source for "Egress", of the target for "Ingress"."""
        pod, peer = (source, target) if direction == "Egress" else (target, source)
        selecting = [policy for policy in self.policies if _selects(policy, pod) and direction in _types(policy)]
        if not pod.namespace or not selecting:
            return True
        side = "to" if direction == "Egress" else "from"
        rules = [(policy, rule) for policy in selecting for rule in policy["spec"].get(direction.lower()) or []]
        return any(
            _ports(rule.get("ports"), target, port, protocol)
            and (not rule.get(side) or any(self._peer(policy, each, peer) for each in rule[side]))
            for policy, rule in rules
        )

    def _peer(self, policy: Mapping[str, Any], rule: Mapping[str, Any], peer: End) -> bool:
        if block := rule.get("ipBlock"):
            address = ip_address(peer.address)
            inside = address in ip_network(block["cidr"])
            return inside and not any(address in ip_network(each) for each in block.get("except", []))
        if not peer.namespace:
            return False
        namespaces = rule.get("namespaceSelector")
        if namespaces is None:
            if peer.namespace != policy["metadata"].get("namespace", "default"):
                return False
        elif not matches(namespaces, self._labels_of(peer.namespace)):
            return False
        return matches(rule.get("podSelector") or {}, peer.labels)

    def _labels_of(self, namespace: str) -> dict[str, str]:
        return {"kubernetes.io/metadata.name": namespace, **self.namespaces.get(namespace, {})}


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Of a LabelSelector; an empty one matches everything. Raises ValueError for an unknown operator."""
    pairs: Mapping[str, str] = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in pairs.items()):
        return False
    return all(_expression(each, labels) for each in selector.get("matchExpressions") or [])


def _expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, operator = labels.get(expression["key"]), expression["operator"]
    if operator == "In":
        return value in expression["values"]
    if operator == "NotIn":
        return value not in expression["values"]  # a pod without the label too
    if operator in ("Exists", "DoesNotExist"):
        return (value is None) == (operator == "DoesNotExist")
    raise ValueError(f"operator: got {operator!r}; allowed: In, NotIn, Exists, DoesNotExist")


def _selects(policy: Mapping[str, Any], pod: End) -> bool:
    own = policy["metadata"].get("namespace", "default")
    return pod.namespace == own and matches(policy["spec"].get("podSelector") or {}, pod.labels)


def _types(policy: Mapping[str, Any]) -> Sequence[str]:
    spec = policy["spec"]
    types: Sequence[str] = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    return types


def _ports(ports: Sequence[Mapping[str, Any]] | None, target: End, port: int, protocol: str) -> bool:
    if not ports:
        return True
    for each in ports:
        if each.get("protocol", "TCP") != protocol:
            continue
        if "port" not in each:
            return True
        first = target.ports.get(each["port"]) if isinstance(each["port"], str) else each["port"]
        if first is not None and first <= port <= each.get("endPort", first):
            return True
    return False
