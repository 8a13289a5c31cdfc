"""Troubles of parts: since when, and in words."""

from eyecatch.observe.health import Health


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
