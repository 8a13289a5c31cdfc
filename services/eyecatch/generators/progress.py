"""Progress of several covers as one: that of the slowest. Knows no model."""

from collections.abc import Callable


def slowest(count: int, tell: Callable[[int, int], None]) -> Callable[[int, int, int], None]:
    """(which of `count`, step, total) -> `tell(step, total)` of the slowest, when it is further than ever before."""
    steps, furthest = [(0, 1)] * count, 0.0

    def watch(n: int, step: int, total: int) -> None:
        nonlocal furthest
        steps[n] = step, total
        least = min(steps, key=lambda at: at[0] / at[1])
        if least[0] / least[1] > furthest:
            furthest = least[0] / least[1]
            tell(*least)

    return watch
