"""Evidence of trials, on simulated clicks."""

import numpy as np
import pytest
from eyecatch.core.trust.evidence import LEAST, MOST, Counts, interval, overall_rate, verdict
from eyecatch.core.types import Trust


def outcome(rng: np.random.Generator, trial_rate: float, rival_rate: float, looks: int = 100) -> Trust | None:
    """A trial of MOST impressions, looked at `looks` times, beside a rival that is seen ten times as often."""
    trial, rival = Counts(), Counts()
    for _ in range(looks):
        n = MOST // looks
        trial = Counts(trial.impressions + n, trial.clicks + int(rng.binomial(n, trial_rate)))
        rival = Counts(rival.impressions + 10 * n, rival.clicks + int(rng.binomial(10 * n, rival_rate)))
        decision = verdict(trial, [rival], overall_rate([trial, rival]))
        if decision is not None:
            return decision[0]
    return None


def test_a_better_cover_is_trusted_and_a_worse_one_retired() -> None:
    rng = np.random.default_rng(1)
    better = [outcome(rng, 0.06, 0.03) for _ in range(100)]
    worse = [outcome(rng, 0.015, 0.03) for _ in range(100)]
    assert better.count(Trust.TRUSTED) >= 99
    assert worse.count(Trust.RETIRED) == 100


def test_an_equal_cover_is_not_trusted_however_often_one_looks() -> None:
    rng = np.random.default_rng(2)
    outcomes = [outcome(rng, 0.03, 0.03) for _ in range(300)]
    assert outcomes.count(Trust.TRUSTED) <= 3
    assert None not in outcomes, "a trial ends"


def test_nothing_is_decided_before_both_were_seen() -> None:
    lucky = Counts(LEAST - 1, LEAST - 1)
    assert verdict(lucky, [Counts(10_000, 1)], 0.01) is None
    assert verdict(Counts(5000, 2500), [Counts(LEAST - 1, 0)], 0.3) is None
    assert verdict(Counts(5000, 2500), [], 0.3) is None


def test_an_interval_is_inside_of_zero_and_one_and_shrunk() -> None:
    for counts in (Counts(), Counts(0, 5), Counts(100, 100), Counts(10**9, 0)):
        low, high = interval(counts, overall_rate([counts]))
        assert 0 <= low < high <= 1
    low, high = interval(Counts(1, 1), 0.02)
    assert high < 0.2, "a single click is no click rate of 1"
    assert interval(Counts(0, 0), 0.02) == pytest.approx(interval(Counts(0, 0), 0.02))
