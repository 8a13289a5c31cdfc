"""The HTTP page of a process: /metrics for Prometheus and /health for probes."""

import platform
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Info, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from eyecatch import __version__
from eyecatch.addresses import bare, is_version_6, joined
from eyecatch.core.errors import Unavailable

SERVING = "SERVING"


class Registered:
    """Metrics in a registry, for a page; without a given one in one of their own, with the process and the version in it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        if registry is None:
            ProcessCollector(registry=self.registry)
            about = {"version": __version__, "python": platform.python_version()}
            Info("eyecatch_build", "What runs here.", registry=self.registry).info(about)


class HealthText(Protocol):
    """The source of the text of /health."""

    def text(self) -> str:
        """SERVING, or NOT_SERVING and a line for each problem."""


@contextmanager
def page(host: str, port: int, metrics: Registered, health: HealthText) -> Iterator[int]:
    """Serve /metrics and /health (200 or 503) inside the context; yields the port. Raises Unavailable if the port is in use."""

    class Listener(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if is_version_6(host) else socket.AF_INET

        def handle_error(self, request: Any, client_address: Any) -> None:
            # A probe that hangs up early is no defect of ours.
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

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
            """Probes are not logged."""

    try:
        server = Listener((bare(host), port), Handler)
    except OSError as error:
        where = joined(host, port)
        raise Unavailable(f"cannot listen on {where} ({error.strerror}); choose another --health-port") from error
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
