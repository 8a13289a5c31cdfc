"""/health and /metrics over HTTP."""

import socket
import struct
import threading
import urllib.error
import urllib.request

import pytest
from eyecatch.core.errors import Unavailable
from eyecatch.ingest.metrics import IngestMetrics
from eyecatch.observe.health import Health
from eyecatch.observe.page import page

from tests.waiting import until


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_page_answers_health_and_metrics() -> None:
    health, metrics = Health("broker"), IngestMetrics()
    metrics.poison.labels("no-user").inc()
    with page("127.0.0.1", 0, metrics, health) as port:
        assert get(port, "/health") == (503, "NOT_SERVING\nbroker: starting\n")
        health.well("broker")
        assert get(port, "/health?probe=1") == (200, "SERVING\n")
        assert 'eyecatch_ingest_poison_total{reason="no-user"} 1.0' in get(port, "/metrics")[1]
        assert get(port, "/")[0] == 404
        with pytest.raises(Unavailable, match="choose another --health-port"), page("127.0.0.1", port, metrics, health):
            pass


@pytest.mark.parametrize("host", ["::", "::1", "[::1]"])
def test_a_page_listens_on_addresses_of_version_6(host: str) -> None:
    with page(host, 0, IngestMetrics(), Health()) as port:
        assert get(port, "/health", "[::1]") == (200, "SERVING\n")


async def test_a_probe_that_hangs_up_early_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    arrived, hung_up, threads = threading.Event(), threading.Event(), threading.active_count() + 1

    class Slow:
        def text(self) -> str:
            arrived.set()
            hung_up.wait()
            return "SERVING"

    with page("127.0.0.1", 0, IngestMetrics(), Slow()) as port:
        with socket.create_connection(("127.0.0.1", port)) as probe:
            probe.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            arrived.wait()
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing sends a reset
        hung_up.set()
        await until(lambda: threading.active_count() == threads, "the end of the answer")
    assert capfd.readouterr().err == ""
