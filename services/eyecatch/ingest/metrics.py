"""Metrics of `eyecatch ingest`. Labels never hold a user id."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from eyecatch.kafka.metrics import ReaderMetrics


class VectorMetrics(ReaderMetrics):
    """Of the topic of embeddings. They share the page, and so the registry, with those of the events."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__("eyecatch_embeddings", registry)
        name, help = (
            "eyecatch_embeddings",
            "Vectors, by whether they were stored; ignored: replaced in their batch, or of forgotten users.",
        )
        self.vectors = Counter(name, help, ["outcome"], registry=registry)


class IngestMetrics(ReaderMetrics):
    def __init__(self) -> None:
        super().__init__("eyecatch_ingest")
        r = self.registry
        self.events = Counter("eyecatch_ingest_events", "Events, by whether they were new.", ["outcome"], registry=r)
        self.absorb_s = Histogram("eyecatch_ingest_absorb_seconds", "Seconds to absorb a batch.", registry=r)
        self.age_s = Histogram(
            "eyecatch_ingest_age_seconds",
            "Seconds from production to absorption of the oldest event of a batch.",
            registry=r,
        )
