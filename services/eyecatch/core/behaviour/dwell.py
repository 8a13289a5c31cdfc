"""Dwell times in 32 buckets: five bits instead of milliseconds. Each bucket is longer than the one before by a factor of √2."""

import math
from functools import lru_cache

BUCKETS = 32
# A shorter dwell is no look at the cover. The last bucket means 55 minutes or more.
_FIRST_MS = 100.0


@lru_cache(4096)
def bucket(dwell_ms: int) -> int:
    """Milliseconds -> the nearest bucket by ratio: 0 (under a tenth of a second) to BUCKETS - 1."""
    if dwell_ms < _FIRST_MS:
        return 0
    return min(1 + round(2 * math.log2(dwell_ms / _FIRST_MS)), BUCKETS - 1)


def milliseconds(bucket: int) -> int:
    """The milliseconds that a bucket stands for; bucket(milliseconds(b)) == b."""
    return round(_FIRST_MS * 2 ** ((bucket - 1) / 2)) if bucket else 0
