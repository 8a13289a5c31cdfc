"""Evidence of a trial: is the click rate of a cover on trial above that of the covers it would displace? Pure arithmetic.

Rates are shrunk towards that of all covers (a Beta prior of PRIOR impressions), so that a lucky start proves nothing. Two intervals
that do not overlap decide; INTERVAL is wide, because a trial is looked at many times.
"""

import math
from collections.abc import Collection
from typing import NamedTuple

from eyecatch.core.types import Trust

PRIOR = 50.0
"""Impressions that the prior counts for."""
INTERVAL = 2.6
"""Half an interval's width, in posterior deviations: 99 % of a normal distribution."""
LEAST = 100
"""Impressions of a cover before which nothing is decided."""
MOST = 20_000
"""Impressions after which a cover that is not better is retired."""


class Counts(NamedTuple):
    """How often a cover was seen and clicked."""

    impressions: int = 0
    clicks: int = 0

    @property
    def views(self) -> int:
        """At least its clicks: an app may report a click without the impression before it."""
        return max(self.impressions, self.clicks)


def overall_rate(counts: Collection[Counts]) -> float:
    """The click rate of all covers, in (0, 1)."""
    return (sum(c.clicks for c in counts) + 1) / (sum(c.views for c in counts) + 2)


def interval(counts: Counts, rate: float) -> tuple[float, float]:
    """The interval of a cover's click rate, shrunk towards `rate`."""
    n = counts.views + PRIOR
    mean = (counts.clicks + PRIOR * rate) / n
    half = INTERVAL * math.sqrt(mean * (1 - mean) / (n + 1))
    return max(0.0, mean - half), min(1.0, mean + half)


def verdict(trial: Counts, rivals: Collection[Counts], rate: float) -> tuple[Trust, str] | None:
    """TRUSTED or RETIRED and why, or None while the trial goes on. rivals: the covers that users see now, one at least.

    TRUSTED: its interval lies above that of each rival. RETIRED: below that of the best, or not better after MOST impressions.
    """
    if trial.views < LEAST or not rivals or max(r.views for r in rivals) < LEAST:
        return None
    low, high = interval(trial, rate)
    lows, highs = zip(*(interval(r, rate) for r in rivals), strict=True)
    words = (
        f"click rate {low:.4f} to {high:.4f} of {trial.views} impressions; the item's others at most {max(highs):.4f}"
    )
    if low > max(highs):
        return Trust.TRUSTED, words
    if high < max(lows):
        return Trust.RETIRED, words
    return (Trust.RETIRED, words + ": not better") if trial.views >= MOST else None
