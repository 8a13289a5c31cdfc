"""Ratings -> what they say, on a scale that is stated or certain. Also used by `eyecatch import`. Knows no table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from icg.errors import InputError

STARS = 5.0
_STATE = "--rating-scale LOWEST-HIGHEST states the scale, for example 1-10"


@dataclass(frozen=True)
class RatingScale:
    """From `low` to `high`, both allowed. A rating says the same as its share of five stars."""

    low: float = 0.5
    high: float = STARS

    @classmethod
    def parse(cls, text: str) -> RatingScale:
        """ "1-10" -> a scale. Raises InputError for anything else."""
        for place, mark in enumerate(text):
            if mark != "-" or place == 0:
                continue
            try:
                low, high = float(text[:place]), float(text[place + 1 :])
            except ValueError:
                continue
            if low < high and math.isfinite(low) and math.isfinite(high):
                return cls(low, high)
        raise InputError(
            "rating_scale", repr(text[:60]), "LOWEST-HIGHEST, two numbers, for example 0.5-5, 1-10 or 0-100"
        )

    @classmethod
    def of(cls, ratings: Iterable[str]) -> RatingScale:
        """Five stars, if all ratings of a table can be that. Raises InputError if some are above 5, or all of them below 1."""
        numbers = [number for text in ratings if not math.isnan(number := _number(text))]
        highest = max(numbers, default=STARS)
        if highest > STARS:
            raise InputError("rating", f"{highest:g}, the highest of the table", f"0.5 to 5 stars; {_STATE}")
        if highest <= 1 < len(numbers):
            raise InputError("rating", f"at most {highest:g} in the whole table", f"0.5 to 5 stars; {_STATE}")
        return cls()

    def stars(self, text: str) -> float:
        """The rating's share of five stars. Raises InputError for a value outside the scale."""
        value = _number(text)
        if not self.low <= value <= self.high:
            allowed = f"{self.low:g} to {self.high:g}; 0 and -1 often mean that somebody has not rated; {_STATE}"
            raise InputError("rating", repr(text[:60]), allowed)
        zero = min(self.low, 0.0)
        return STARS * (value - zero) / (self.high - zero)


def meaning(stars: float) -> str:
    """The name of the action that stars stand for: >= 4 like, >= 3 click, <= 2 dislike, else impression."""
    if stars >= 3:
        return "like" if stars >= 4 else "click"
    return "dislike" if stars <= 2 else "impression"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
