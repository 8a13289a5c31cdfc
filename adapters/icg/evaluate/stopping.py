"""When an iterative training that is judged on a validation split ends. Knows no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from icg.evaluate.ranking import Scorer

Judge = Callable[[Scorer], float]
"""Scores -> their value on a validation split, higher is better."""


@dataclass(frozen=True)
class Rounds:
    """A training is judged after each round. It ends after `most` rounds, or `patience` rounds after the best one."""

    most: int = 20
    patience: int = 4

    def over(self, values: Sequence[float]) -> bool:
        """values: of the rounds so far."""
        return len(values) >= self.most or (len(values) > 0 and len(values) - best(values) >= self.patience)


def best(values: Sequence[float]) -> int:
    """The first round, counted from 1, with the best value. Raises ValueError without any."""
    return 1 + max(range(len(values)), key=lambda n: (values[n], -n))
