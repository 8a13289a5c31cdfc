"""Quotas of callers: calls a second and covers an hour, each a token bucket. Knows no rpc."""

import time
from collections.abc import Callable

from eyecatch.api.identity.callers import Caller
from eyecatch.core.errors import Overloaded

HOUR_S = 3600.0


class Bucket:
    """Holds `size` units at most, and gets `per_s` new ones a second."""

    def __init__(self, size: float, per_s: float, now: float) -> None:
        self.size, self._per_s = size, per_s
        self._left, self._at = size, now

    def take(self, units: float, now: float) -> float:
        """0.0 if they are taken, else the seconds until they can be. More than the bucket holds is taken from a full one, as a debt."""
        self._left = min(self.size, self._left + (now - self._at) * self._per_s)
        self._at = now
        missing = min(units, self.size) - self._left
        # Rounding must not refuse who waited as long as was said.
        if missing <= 1e-9:
            self._left -= units
            return 0.0
        return missing / self._per_s


class Quotas:
    """Of one process: several servers count each for itself."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls: dict[str, Bucket] = {}
        self._covers: dict[str, Bucket] = {}

    def call(self, caller: Caller) -> None:
        """Raises Overloaded if the caller has too many calls; it may have those of a second at once."""
        if caller.calls_per_s:
            size = max(1.0, caller.calls_per_s)
            self._take(self._calls, caller, size, caller.calls_per_s, 1, f"{caller.calls_per_s:g} calls a second")

    def covers(self, caller: Caller, count: int) -> None:
        """Raises Overloaded if the caller has asked for too many covers; it may have those of an hour at once."""
        if caller.covers_per_hour:
            size = caller.covers_per_hour
            self._take(self._covers, caller, size, size / HOUR_S, count, f"{size} covers an hour")

    def _take(
        self, buckets: dict[str, Bucket], caller: Caller, size: float, per_s: float, units: int, quota: str
    ) -> None:
        now, bucket = self._clock(), buckets.get(caller.name)
        if bucket is None or bucket.size != size:  # a new quota
            bucket = buckets[caller.name] = Bucket(size, per_s, now)
        if wait_s := bucket.take(units, now):
            raise Overloaded(f"the caller {caller.name!r} has its quota of {quota}", round(wait_s + 0.001, 3))
