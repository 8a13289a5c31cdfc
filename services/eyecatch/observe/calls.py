"""Rate, errors and duration of each rpc, counted on one thread for next to nothing and read by the metrics page on another.

The name and the labels are OpenTelemetry's (semantic conventions 1.44, `rpc.server.call.duration`) as Prometheus spells them.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.core import Metric

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
NAME = "rpc_server_call_duration_seconds"
LABELS = ("rpc_system_name", "rpc_method", "rpc_response_status_code")


class CallTimes:
    """Of one method: how many calls took how long, by status."""

    def __init__(self, method: str) -> None:
        self.method = method
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def add(self, began: float, code: str) -> None:
        """A call that began at `began` of time.perf_counter has ended with status `code`."""
        seconds = time.perf_counter() - began
        counts = self._counts.get(code)
        if counts is None:
            counts = self._counts[code] = [0] * (len(SECONDS) + 1)
            self._sums[code] = 0.0
        counts[bisect_left(SECONDS, seconds)] += 1
        self._sums[code] += seconds

    def rows(self) -> list[tuple[str, list[int], float]]:
        """Status, calls up to each of SECONDS and all, and their seconds."""
        return [(code, list(accumulate(counts)), self._sums[code]) for code, counts in self._counts.copy().items()]


class Calls:
    """Of all methods; a collector for a Prometheus registry."""

    def __init__(self) -> None:
        self._methods: list[CallTimes] = []

    def of(self, method: str) -> CallTimes:
        """`method`: "package.Service/Method"."""
        self._methods.append(CallTimes(method))
        return self._methods[-1]

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import HistogramMetricFamily

        family = HistogramMetricFamily(NAME, "Seconds of calls, from the request to the last answer.", labels=LABELS)
        bounds = [*map(str, SECONDS), "+Inf"]
        for times in self._methods:
            for code, counts, seconds in times.rows():
                family.add_metric(("grpc", times.method, code), list(zip(bounds, counts, strict=True)), seconds)
        yield family
