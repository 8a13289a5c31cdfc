"""Waits between attempts."""

from eyecatch.core.backoff import Backoff


def test_a_wait_doubles_up_to_its_last() -> None:
    wait = Backoff(0.1, 1.0, jitter=0.0)
    assert [wait(attempt) for attempt in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert wait(10_000) == 1.0, "however long it goes on"


def test_jitter_is_the_part_that_is_random() -> None:
    half, all_of_it = Backoff(1.0, 8.0), Backoff(1.0, 8.0, jitter=1.0)
    waits = [half(2) for _ in range(200)]
    assert 2.0 <= min(waits) < 2.2 < 3.8 < max(waits) <= 4.0
    assert min(all_of_it(2) for _ in range(200)) < 0.4
