"""The gates of a made cover, as they are stored among its rewards. Knows no model."""

from collections.abc import Mapping

GATES = ("domain", "fidelity", "artifacts")
"""Each a number in 0..1, 1 passes for sure. Which numbers pass says the library; failures in words are a cover's refusals."""
_PREFIX = "gate_"


def gate_rewards(values: Mapping[str, float]) -> dict[str, float]:
    """The values of the gates by name -> rewards."""
    return {f"{_PREFIX}{name}": values[name] for name in GATES if name in values}
