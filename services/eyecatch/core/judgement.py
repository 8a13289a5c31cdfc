"""The verdict of a judge of product pictures, as it is stored among the rewards of a cover. Knows no judge."""

from collections.abc import Mapping

RELIABILITY = "reliability"
"""The reward: the probability of the class "available", 0 to 1."""


def to_rewards(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Probabilities of the classes -> rewards. That of "available" is the reward RELIABILITY itself."""
    classes = {f"{RELIABILITY}.{name}": float(value) for name, value in probabilities.items() if name != "available"}
    return {RELIABILITY: float(probabilities["available"]), **classes}


def from_rewards(rewards: Mapping[str, float]) -> dict[str, float]:
    """Rewards -> probabilities of the classes; empty for a cover that was not judged."""
    if RELIABILITY not in rewards:
        return {}
    start = f"{RELIABILITY}."
    return {"available": rewards[RELIABILITY]} | {
        name.removeprefix(start): value for name, value in rewards.items() if name.startswith(start)
    }
