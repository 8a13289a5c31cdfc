"""Metrics of the Triton servers from our side. Their own metrics pages have the rest."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from eyecatch.generators.triton_endpoints import Endpoint

PREFIX = "eyecatch_triton"


class EndpointCollector(Collector):
    """Reads the counters of the endpoints when Prometheus scrapes."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints

    def collect(self) -> Iterator[Metric]:
        ended = CounterMetricFamily(f"{PREFIX}_requests", "Requests by outcome.", labels=["endpoint", "outcome"])
        seconds = CounterMetricFamily(f"{PREFIX}_seconds", "Seconds that all requests took.", labels=["endpoint"])
        gauges = [
            GaugeMetricFamily(f"{PREFIX}_{name}", help, labels=["endpoint"])
            for name, help in (
                ("outstanding", "Requests that are not answered yet."),
                ("there", "1 while the model answers."),
                ("breaker_open", "1 while it gets no requests after failures in a row."),
            )
        ]
        for each in self._endpoints:
            for outcome, count in sorted(each.ended.items()):
                ended.add_metric([each.address, outcome], count)
            seconds.add_metric([each.address], each.seconds)
            for gauge, value in zip(gauges, (each.outstanding, each.reachable, each.breaker.open), strict=True):
                gauge.add_metric([each.address], float(value))
        yield from (ended, seconds, *gauges)
