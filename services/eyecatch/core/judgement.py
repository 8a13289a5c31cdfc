"""What a judge of product pictures says of a cover, as it is kept among the cover's rewards. Knows no judge."""

from collections.abc import Mapping

RELIABILITY = "reliability"
"""The reward: the probability of being available, 0 to 1."""


def to_rewards(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Probabilities of the classes -> rewards; the first, "available", is the reward itself."""
    classes = {f"{RELIABILITY}.{name}": float(value) for name, value in probabilities.items() if name != "available"}
    return {RELIABILITY: float(probabilities["available"]), **classes}


def from_rewards(rewards: Mapping[str, float]) -> dict[str, float]:
    """The other way round; empty for a cover that was not judged."""
    if RELIABILITY not in rewards:
        return {}
    start = f"{RELIABILITY}."
    return {"available": rewards[RELIABILITY]} | {
        name.removeprefix(start): value for name, value in rewards.items() if name.startswith(start)
    }
