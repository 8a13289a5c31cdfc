"""The linear model of the ticks' durations."""

from __future__ import annotations

import pytest
from icg.scheduler.timing import StepTiming


def test_a_line_is_found() -> None:
    pace = StepTiming()
    assert pace.tick(4) == pace.decode == 0
    for rows in (2, 4, 8, 16, 6, 12):
        pace.record_step(rows, 0.05 + 0.01 * rows)
    assert pace.tick(10) == pytest.approx(0.15)
    assert pace.row(10) == pytest.approx(0.015)


def test_without_a_spread_all_is_proportional_and_old_news_fade() -> None:
    pace = StepTiming()
    for _ in range(10):
        pace.record_step(8, 0.8)
    assert pace.tick(16) == pytest.approx(1.6)
    for _ in range(200):
        pace.record_step(8, 0.4)
    assert pace.tick(8) == pytest.approx(0.4, rel=0.01)


def test_noise_makes_no_step_backwards() -> None:
    pace = StepTiming()
    for rows, seconds in ((2, 0.9), (16, 0.1), (2, 0.8), (16, 0.2)):
        pace.record_step(rows, seconds)
    assert pace.tick(2) == pytest.approx(pace.tick(16)) == pytest.approx(0.5, rel=0.05)


def test_decoding_is_a_mean() -> None:
    pace = StepTiming()
    pace.record_decoding(2, 0.1)
    pace.record_decoding(1, 0.05)
    assert pace.decode == pytest.approx(0.05)
