"""Dwell in 32 buckets: five bits instead of milliseconds, each bucket half as long again as the one before (a factor of √2)."""

import math
from functools import lru_cache

BUCKETS = 32
# Below this nobody looked; the last bucket stands for 55 minutes and more.
_FIRST_MS = 100.0


@lru_cache(4096)
def bucket(dwell_ms: int) -> int:
    """Milliseconds -> 0 (under a tenth of a second) to BUCKETS - 1, the nearest by ratio."""
    if dwell_ms < _FIRST_MS:
        return 0
    return min(1 + round(2 * math.log2(dwell_ms / _FIRST_MS)), BUCKETS - 1)


def milliseconds(bucket: int) -> int:
    """What a bucket stands for; bucket(milliseconds(b)) == b."""
    return round(_FIRST_MS * 2 ** ((bucket - 1) / 2)) if bucket else 0
