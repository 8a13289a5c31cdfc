"""Which connections the workloads of a cluster need, from their command lines and variables, and which ones its policies let through."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple
from urllib.parse import urlsplit

from eyecatch.config import MakingConfig

from tests.unit.deploy.kustomize import READS, Document, Pod, brokers
from tests.unit.deploy.network_policies import Cluster, End

OURS = "eyecatch"
KAFKA_PORTS = (9092, 9093)
"""Plain and TLS: the policy has both, so that a change of EYECATCH_KAFKA_SECURITY needs no other."""
REDIS_PORT, DASHBOARD = 6379, 8265
PORTS = (53, 80, 443, 6379, *KAFKA_PORTS, 8001, 8002, 8265, 9464, 50051, 50052)
NAMESPACES = {"shop": {"eyecatch/callers": "true"}}
OTHERS = (
    End("dns", "kube-system", {"k8s-app": "kube-dns"}),
    End("redis", "redis", {"app": "redis"}),
    End("kafka", "kafka", {"app": "kafka"}),
    End("prometheus", "monitoring", {"app.kubernetes.io/name": "prometheus"}),
    End("grafana", "monitoring", {"app.kubernetes.io/name": "grafana"}),
    End("kuberay", "operators", {"app.kubernetes.io/name": "kuberay-operator"}),
    End("recommender here", OURS, {"app": "recommender"}),
    End("recommender in a named namespace", "shop", {"app": "recommender"}),
    End("stranger", "elsewhere", {"app": "anything"}),
    End("object store", address="52.216.8.8"),
    End("a private address", address="10.200.0.9"),
    End("the cloud's metadata", address="169.254.169.254"),
)
CALLERS = ("recommender here", "recommender in a named namespace")


class Flow(NamedTuple):
    source: str
    target: str
    port: int
    protocol: str = "TCP"


def needed(pods: Mapping[str, Pod], documents: Sequence[Document]) -> set[Flow]:
    scraped = any(document["kind"] == "PodMonitor" for document in documents)
    flows = {flow for pod in pods.values() for flow in _from(pod, pods)}
    for pod in pods.values():
        ports = _ports(pod)
        if scraped and "metrics" in ports:
            flows.add(Flow("prometheus", pod.name, ports["metrics"]))
        if pod.verb == "serve":
            flows |= {Flow(caller, pod.name, pod.settings(READS["serve"]).port) for caller in CALLERS}
    ray = [name for name in pods if name.startswith("ray-")]
    flows |= {Flow(*pair, port, protocol) for *pair, (port, protocol) in product(ray, ray, _ports_and_protocols())}
    return flows | {Flow("kuberay", name, DASHBOARD) for name in ray}


def _from(pod: Pod, pods: Mapping[str, Pod]) -> Iterator[Flow]:
    yield from (Flow(pod.name, "dns", 53, protocol) for protocol in ("TCP", "UDP"))
    if any("CHECKPOINT_URL" in "".join(each["args"]) for each in pod.spec.get("initContainers", [])):
        yield Flow(pod.name, "object store", 443)
    if not pod.verb:
        return
    kind = READS[pod.verb]
    settings = pod.settings(kind)
    store = urlsplit(settings.store)
    assert store.scheme in ("", "redis", "rediss")
    if store.hostname:
        yield Flow(pod.name, _namespace(store.hostname), store.port or REDIS_PORT)
    for broker in brokers(pod):
        host, _, port = broker.rpartition(":")
        assert int(port) in KAFKA_PORTS
        yield from (Flow(pod.name, _namespace(host), each) for each in KAFKA_PORTS)
    if issubclass(kind, MakingConfig):
        if settings.blobs.startswith(("s3://", "gs://")):
            yield Flow(pod.name, "object store", 443)
        if pod.verb != "evaluate recall":  # it reads pictures for its report, and draws none
            for address in settings.triton_servers():
                host, _, port = address.rpartition(":")
                yield Flow(pod.name, pods[host.split(".")[1]].name, int(port))


def _namespace(host: str) -> str:
    """Of service.namespace, as which OTHERS names those who serve there."""
    return host.split(".")[1]


def _ports(pod: Pod) -> dict[str, int]:
    return {each["name"]: each["containerPort"] for each in pod.container.get("ports", [])}


def ends(flows: Iterable[Flow], pods: Mapping[str, Pod]) -> set[tuple[str, Flow]]:
    """The ends of connections at which policies of ours have a say."""
    sides = {(side, flow) for flow in flows for side in ("Egress", "Ingress")}
    return {(side, flow) for side, flow in sides if (flow.source if side == "Egress" else flow.target) in pods}


def allowed(pods: Mapping[str, Pod], policies: Sequence[Document]) -> set[tuple[str, Flow]]:
    """The ends at which policies let a connection through: from or to one of the pods, at PORTS."""
    own = {pod.name: End(pod.name, OURS, pod.labels, ports=_ports(pod)) for pod in pods.values()}
    everybody = own | {each.name: each for each in OTHERS}
    cluster = Cluster(policies, NAMESPACES)
    candidates = [
        Flow(*pair, port, protocol) for *pair, (port, protocol) in product(everybody, everybody, _ports_and_protocols())
    ]
    return {
        (side, flow)
        for side, flow in ends(candidates, pods)
        if cluster.allows(side, everybody[flow.source], everybody[flow.target], flow.port, flow.protocol)
    }


def _ports_and_protocols() -> list[tuple[int, str]]:
    return [*((port, "TCP") for port in PORTS), (53, "UDP")]
