"""What Prometheus is told, and the HTTP page that tells it. No label ever holds an id of a user."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from eyecatch.core.errors import Unavailable

SERVING = "SERVING"


class Metered:
    """What a page tells."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()


class Reading(Metered):
    """Of whoever reads a topic; names begin with `prefix`."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        r = self.registry
        self.poison = Counter(f"{prefix}_poison", "Records sent to the dead letters.", ["reason"], registry=r)
        self.missed = Counter(f"{prefix}_missed", "Records that expired before they were read.", registry=r)
        self.retries = Counter(f"{prefix}_retries", "Attempts after a failure.", ["part"], registry=r)
        self.placed = Counter(f"{prefix}_partitions_placed", "Starts in a partition.", ["why"], registry=r)
        self.commits = Counter(f"{prefix}_commits", "Commits of offsets.", ["outcome"], registry=r)
        self.buffered = Gauge(f"{prefix}_buffered_records", "Read and not taken in yet.", registry=r)
        self.paused = Gauge(f"{prefix}_paused", "1 while reading is paused because the store is slower.", registry=r)
        self.partitions = Gauge(f"{prefix}_partitions", "Partitions being read by this process.", registry=r)
        self.lag = Gauge(f"{prefix}_lag_records", "Produced and not read yet.", ["partition"], registry=r)


class Metrics(Reading):
    """Of ingest."""

    def __init__(self) -> None:
        super().__init__("eyecatch_ingest")
        r = self.registry
        self.events = Counter("eyecatch_ingest_events", "Events, by whether they were new.", ["outcome"], registry=r)
        self.absorb_s = Histogram("eyecatch_ingest_absorb_seconds", "One batch into the store.", registry=r)
        self.age_s = Histogram(
            "eyecatch_ingest_age_seconds", "From produced to absorbed, oldest of a batch.", registry=r
        )


class Told(Protocol):
    """Whoever answers /health."""

    def text(self) -> str:
        """SERVING, or NOT_SERVING and a line for each trouble."""


@contextmanager
def page(host: str, port: int, metrics: Metered, health: Told) -> Iterator[int]:
    """Answer /metrics and /health (200 or 503) meanwhile; gives the port. Raises Unavailable when it is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry))
                case "/health":
                    text = health.text()
                    self._answer(200 if text == SERVING else 503, "text/plain", f"{text}\n".encode())
                case _:
                    self._answer(404, "text/plain", b"/health or /metrics\n")

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes are not worth a line each."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise Unavailable(f"cannot listen on {host}:{port} ({error.strerror}); choose another --health-port") from error
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
