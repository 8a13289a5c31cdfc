"""Metrics of `eyecatch serve` beside those of its calls. Labels never hold an id."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from eyecatch.api.server import Server
from eyecatch.config import Config
from eyecatch.core.recommending.decisions import DecisionBuffer
from eyecatch.core.recommending.recommend import Degraded, Recommender
from eyecatch.core.tasks import cancel
from eyecatch.core.types import Vector
from eyecatch.observe.health import Health
from eyecatch.observe.line import Line
from eyecatch.observe.page import Registered, page
from eyecatch.wiring.generator import register_metrics
from eyecatch.wiring.members import HOST
from eyecatch.wiring.stores import Parts

POOL_SIZES = (0, 1, 2, 4, 8, 16, 32)
REWARD_SAMPLE = 5000
QUANTILES = (0.1, 0.5, 0.9)


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
        ranker = self._recommender.ranker
        text = (
            "Items answered: all, those whose first cover was drawn to explore, and those that showed a cover on trial."
        )
        items = CounterMetricFamily("eyecatch_ranked_items", text, labels=["choice"])
        for choice, number in (("all", ranker.ranked), ("explored", ranker.explored), ("trial", ranker.tried)):
            items.add_metric([choice], number)
        yield items
        yield _sizes(pools.sizes())
        yield _rewards(pools.reward_sample(REWARD_SAMPLE))
        text = "Decisions that are not written yet."
        yield GaugeMetricFamily("eyecatch_waiting_decisions", text, value=self._decisions.waiting)


def _sizes(sizes: "np.ndarray[Any, np.dtype[np.intp]]") -> Metric:
    text = "Covers that every user may see, of the items in memory."
    counts = [(str(bound), float((sizes <= bound).sum())) for bound in POOL_SIZES]
    buckets = [*counts, ("+Inf", float(len(sizes)))]
    family = HistogramMetricFamily("eyecatch_pool_covers", text)
    family.add_metric([], buckets, float(sizes.sum()))
    return family


def _rewards(rewards: Mapping[str, Vector]) -> Metric:
    text = f"Quantiles of each stored reward over about {REWARD_SAMPLE} covers in memory."
    family = GaugeMetricFamily("eyecatch_reward", text, labels=["reward", "quantile"])
    for name, values in rewards.items():
        for quantile in QUANTILES if len(values) else ():
            family.add_metric([name, str(quantile)], float(np.quantile(values, quantile)))
    return family


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
        await cancel(line)
