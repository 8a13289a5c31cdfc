"""Cells of a table -> a vector, as `icg.data.numbers` reads them. Knows no meaning of the numbers."""

from collections.abc import Sequence

from icg.data import numbers
from icg.data.numbers import EMBEDDING
from icg.errors import InputError

from eyecatch.core.types import Vector
from eyecatch.importing.tables import Row, translate

__all__ = ["EMBEDDING", "vector_of"]


def vector_of(row: Row, columns: Sequence[str]) -> Vector:
    """The numbers (W,) of these cells, in their order. Raises InvalidInput for a cell with something else."""
    try:
        return numbers.vector_of(row, columns)
    except InputError as error:
        raise translate(error) from error
