"""Cells of a table -> vectors. Also used by `eyecatch import`. Knows no meaning of the numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from icg.data.tables import Row
from icg.errors import InputError

EMBEDDING = ("embedding", "vector")
_BETWEEN = re.compile(r"[|,;\s]+")


def vector_of(row: Row, columns: Sequence[str]) -> np.ndarray:
    """The numbers (W,) float32 of these cells, in their order: separated by "|", commas or spaces, with or without brackets.

    What 32 bits cannot hold becomes infinite. Raises InputError for a cell with something else.
    """
    parts = [_numbers(row.text(name), name) for name in columns]
    with np.errstate(over="ignore"):
        return np.array([number for part in parts for number in part], np.float64).astype(np.float32)


def _numbers(text: str, column: str) -> list[float]:
    out: list[float] = []
    for part in _BETWEEN.split(text.strip().strip("[]()")):
        try:
            out += [float(part)] if part else []
        except ValueError as error:
            raise InputError(column, repr(part[:60]), 'numbers separated by "|", commas or spaces') from error
    return out
