"""The progress of several covers as that of the slowest one. Knows no model."""

from collections.abc import Callable


def slowest(count: int, on_step: Callable[[int, int], None]) -> Callable[[int, int, int], None]:
    """A callback (index of a cover below `count`, step, total). It calls `on_step(step, total)` when the slowest cover advances."""
    steps, furthest = [(0, 1)] * count, 0.0

    def watch(n: int, step: int, total: int) -> None:
        nonlocal furthest
        steps[n] = step, total
        least = min(steps, key=lambda at: at[0] / at[1])
        if least[0] / least[1] > furthest:
            furthest = least[0] / least[1]
            on_step(*least)

    return watch
