"""Metrics of a process that reads a topic. Labels never hold an id."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from eyecatch.observe.page import Registered


class ReaderMetrics(Registered):
    """Metrics whose names start with `prefix`, in a registry of their own or a given one."""

    def __init__(self, prefix: str, registry: CollectorRegistry | None = None) -> None:
        super().__init__(registry)
        r = self.registry
        self.poison = Counter(f"{prefix}_poison", "Records sent to the dead letters.", ["reason"], registry=r)
        self.missed = Counter(f"{prefix}_missed", "Records that expired before they were read.", registry=r)
        self.retries = Counter(f"{prefix}_retries", "Attempts after a failure.", ["part"], registry=r)
        self.starts = Counter(f"{prefix}_partitions_placed", "Starts in a partition.", ["why"], registry=r)
        self.commits = Counter(f"{prefix}_commits", "Commits of offsets.", ["outcome"], registry=r)
        self.buffered = Gauge(f"{prefix}_buffered_records", "Records read and not absorbed yet.", registry=r)
        self.paused = Gauge(f"{prefix}_paused", "1 while reading is paused because the buffer is full.", registry=r)
        self.partitions = Gauge(f"{prefix}_partitions", "Partitions that this process reads.", registry=r)
        self.lag = Gauge(f"{prefix}_lag_records", "Records produced and not read yet.", ["partition"], registry=r)
