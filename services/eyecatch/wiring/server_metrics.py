"""Metrics of `eyecatch serve` beside those of its calls. Labels never hold an id."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from eyecatch.api.server import Server
from eyecatch.config import Config
from eyecatch.core.recommending.decisions import DecisionBuffer
from eyecatch.core.recommending.recommend import Degraded, Recommender
from eyecatch.observe.health import Health
from eyecatch.observe.line import Line
from eyecatch.observe.page import Registered, page
from eyecatch.wiring.generator import register_metrics
from eyecatch.wiring.members import HOST
from eyecatch.wiring.stores import Parts


class ServerMetrics(Registered):
    """Read from what the fast path counts anyway, when the page is asked for."""

    def __init__(self, server: Server, recommender: Recommender, decisions: DecisionBuffer) -> None:
        super().__init__()
        self._recommender, self._decisions = recommender, decisions
        self.registry.register(server.calls)
        self.registry.register(self)
        self.line = Line(self.registry)

    def collect(self) -> Iterator[Metric]:
        text = "Answers of which a part did not work, by the part."
        degraded = CounterMetricFamily("eyecatch_degraded_answers", text, labels=["part"])
        for part in Degraded:
            degraded.add_metric([part.name.lower()], self._recommender.degraded[part])
        yield degraded
        pools = self._recommender.pools
        yield GaugeMetricFamily("eyecatch_cached_items", "Items whose covers are in memory.", value=len(pools))
        text = "Decisions that are not written yet."
        yield GaugeMetricFamily("eyecatch_waiting_decisions", text, value=self._decisions.waiting)


@asynccontextmanager
async def metrics_page(
    config: Config, metrics: ServerMetrics, health: Health, parts: Parts, member: bool
) -> AsyncIterator[int]:
    """Serve /metrics and /health inside the context, if a port is set; yields it. Raises Unavailable if it is in use.

    A member of several processes serves them on a port of its own, for the page of all.
    """
    if not (config.metrics_port or member):
        yield 0
        return
    host, port = (HOST, 0) if member else (config.host, config.metrics_port)
    register_metrics(metrics.registry, config, parts.generator)
    line = asyncio.ensure_future(metrics.line.watch(parts.store.queue, parts.store.clock))
    try:
        with page(host, port, metrics, health) as at:
            yield at
    finally:
        line.cancel()
