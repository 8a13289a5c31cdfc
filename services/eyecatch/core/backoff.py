"""Growing waits between attempts, for everything that tries again."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """A wait of `first_s` seconds that doubles with each attempt, up to `last_s`.

    `jitter`, 0 to 1: the random part of a wait. It keeps processes that failed together from retrying together.
    """

    first_s: float
    last_s: float
    jitter: float = 0.5

    def __call__(self, attempt: int) -> float:
        """Seconds to wait after `attempt`, counted from 0."""
        bound = min(self.last_s, self.first_s * 2.0 ** min(attempt, 60))
        return random.uniform((1 - self.jitter) * bound, bound)
