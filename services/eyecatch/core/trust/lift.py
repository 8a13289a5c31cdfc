"""How much more a cover is clicked than its item's covers together, shrunk towards what near covers show. Pure arithmetic.

The lift of a cover is its click rate over that of its item, so that a popular item lends nothing to its looks. A cover has a Gamma prior
worth OWN expected clicks; its mean is 1, or, for a cover of which little is known, the lift of the covers nearest to it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eyecatch.core.trust.evidence import PRIOR, Counts, overall_rate
from eyecatch.core.types import Vector

OWN = 10.0
"""Expected clicks that a prior counts for: half of the weight is the cover's own after so many."""
KNOWN = 40.0
"""Expected clicks from which on a cover borrows nothing."""
LENT = 0.5
"""What a click on another cover counts for, at most: a near cover is not the same one."""
NEAR = 32
"""Covers with evidence, of other items, that a cover borrows from."""

Numbers = NDArray[np.float64]


def expected(items: Sequence[str], counts: Sequence[Counts]) -> tuple[Numbers, Numbers]:
    """(clicks, clicks to be expected of its item's rate), (N,) each, of covers with these items and counts.

    An item's rate is shrunk towards that of all covers, and is that of all its covers: one with a single cover tells nothing of it.
    """
    views = np.array([c.views for c in counts], float)
    clicks = np.array([c.clicks for c in counts], float)
    number = {item: n for n, item in enumerate(dict.fromkeys(items))}
    item = np.array([number[each] for each in items], int)
    rate = overall_rate(counts)
    of_item = (np.bincount(item, clicks) + PRIOR * rate) / (np.bincount(item, views) + PRIOR)
    return clicks, views * of_item[item]


def borrowed(dots: Vector, clicks: Numbers, expected_clicks: Numbers) -> Numbers:
    """The lift (N,) that each of N covers borrows from its K nearest: dots (N, K), best first, -inf for none; their clicks (N, K).

    Near covers weigh more: LENT for the nearest, falling to 0 for the last. Without evidence the lift is 1.
    """
    near, far = dots[:, :1], dots.min(axis=1, keepdims=True, where=np.isfinite(dots), initial=np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(near > far, (dots - far) / (near - far), 1.0)
    weights = LENT * np.where(np.isfinite(dots), np.clip(share, 0.0, 1.0), 0.0)
    mean: Numbers = ((weights * clicks).sum(1) + OWN) / ((weights * expected_clicks).sum(1) + OWN)
    return mean


def log_lift(clicks: Numbers, expected_clicks: Numbers, prior: Numbers) -> Numbers:
    """The logarithm of the posterior mean (N,): 0 for a cover clicked like its item's others."""
    value: Numbers = np.log((clicks + OWN * prior) / (expected_clicks + OWN))
    return value
