"""Bounds of counts that are random, from their distribution and not from what was seen."""

from math import exp, lgamma, log

ERROR = 1e-6
"""A bound is wrong as often, on either side."""


def probability(count: int, n: int, p: float) -> float:
    """That `count` of `n` independent trials of chance p, above 0 and below 1, succeed."""
    ways = lgamma(n + 1) - lgamma(count + 1) - lgamma(n - count + 1)
    return exp(ways + count * log(p) + (n - count) * log(1 - p))


def bounds(n: int, p: float, error: float = ERROR) -> tuple[int, int]:
    """The counts (low, high): fewer than low, and likewise more than high, succeed with a probability of at most `error`."""
    low, below = 0, probability(0, n, p)
    while below <= error:
        low += 1
        below += probability(low, n, p)
    high, above = n, probability(n, n, p)
    while above <= error:
        high -= 1
        above += probability(high, n, p)
    return low, high
