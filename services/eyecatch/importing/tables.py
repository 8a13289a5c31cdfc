"""Tables and their columns, found by the caller's names or else by common names. `icg.data.tables` reads the file."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from icg.data import tables
from icg.data.tables import Row
from icg.errors import InputError

from eyecatch.core.errors import InvalidInput, Violation

__all__ = ["Row", "Table", "translate"]


class Table:
    """An open table. Raises InvalidInput for a file that is missing, is not a table, or has no columns."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = tables.Table(path)
        except InputError as error:
            raise translate(error) from error

    @property
    def fraction(self) -> float:
        """The part of the file that was read, 0 to 1."""
        return self._file.fraction

    def column(self, meaning: str, name: str, common: Sequence[str], required: bool = True) -> str:
        """The column for `meaning`: `name`, else the first common name that exists, else "" if not required."""
        try:
            return self._file.column(common, required, meaning, name)
        except InputError as error:
            raise translate(error) from error

    def batches(self, size: int) -> Iterator[list[Row]]:
        """Rows in lists of `size`, including damaged rows."""
        yield from self._file.batches(size)


def translate(error: InputError) -> InvalidInput:
    """An error of icg as an error of the core."""
    return InvalidInput([Violation(error.name, error.value, error.allowed)])
