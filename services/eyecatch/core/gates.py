"""The gates of a made cover, as they are stored among its rewards. Knows no model."""

from collections.abc import Iterable, Mapping

from eyecatch.core.types import Cover, Origin

GATES = ("domain", "fidelity", "artifacts")
"""Each a number in 0..1, 1 passes for sure. Which numbers pass says the library; failures in words are a cover's refusals."""
DOMAIN = 0.5
"""The least value of the gate of the domain that passes, as in icg.gates."""
_PREFIX = "gate_"


def gate_rewards(values: Mapping[str, float]) -> dict[str, float]:
    """The values of the gates by name -> rewards."""
    return {f"{_PREFIX}{name}": values[name] for name in GATES if name in values}


def outside_domain(pool: Iterable[Cover]) -> bool:
    """Whether the checkpoint draws pictures like those of this item badly, by what was measured when they were imported."""
    measured = [c.rewards.get(f"{_PREFIX}domain") for c in pool if c.provenance.origin is Origin.CATALOGUE]
    values = [value for value in measured if value is not None]
    return bool(values) and max(values) < DOMAIN
