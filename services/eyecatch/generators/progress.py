"""The progress of several covers as one number: that of the slowest. Knows no model."""

from collections.abc import Callable


def slowest(count: int, tell: Callable[[int, int], None]) -> Callable[[int, int, int], None]:
    """A callback (which of `count`, step, total) that calls `tell(step, total)` of the slowest whenever that one is further."""
    steps, furthest = [(0, 1)] * count, 0.0

    def watch(n: int, step: int, total: int) -> None:
        nonlocal furthest
        steps[n] = step, total
        least = min(steps, key=lambda at: at[0] / at[1])
        if least[0] / least[1] > furthest:
            furthest = least[0] / least[1]
            tell(*least)

    return watch
