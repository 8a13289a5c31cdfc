"""What is said of troubles, and over HTTP."""

import urllib.error
import urllib.request

import pytest
from eyecatch.core.errors import Unavailable
from eyecatch.ingest.metrics import Metrics, page
from eyecatch.observe.health import Health


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_trouble_lasts_from_its_first_word_to_the_first_good_one() -> None:
    now = [10.0]
    health = Health("broker", clock=lambda: now[0])
    assert health.text() == "NOT_SERVING\nbroker: starting"
    now[0] = 11.0
    assert health.trouble("broker", "away") == 1.0
    assert health.trouble("store", "full") == 0.0
    now[0] = 13.0
    assert health.trouble("broker", "still away") == 3.0
    assert health.text() == "NOT_SERVING\nbroker: still away\nstore: full"
    health.well("broker")
    health.well("store")
    assert (health.serving, health.text()) == (True, "SERVING")
    assert health.trouble("broker", "again") == 0.0


def test_the_page() -> None:
    health, metrics = Health("broker"), Metrics()
    metrics.poison.labels("no-user").inc()
    with page("127.0.0.1", 0, metrics, health) as port:
        assert get(port, "/health") == (503, "NOT_SERVING\nbroker: starting\n")
        health.well("broker")
        assert get(port, "/health?probe=1") == (200, "SERVING\n")
        assert 'eyecatch_ingest_poison_total{reason="no-user"} 1.0' in get(port, "/metrics")[1]
        assert get(port, "/")[0] == 404
        with pytest.raises(Unavailable, match="choose another --health-port"), page("127.0.0.1", port, metrics, health):
            pass
