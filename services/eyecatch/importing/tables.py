"""Which column of a table means what: as the caller maps them, else by common names. `icg.data.tables` reads the file."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from icg.data import tables
from icg.data.tables import Row
from icg.errors import InputError

from eyecatch.core.errors import InvalidInput, Violation

__all__ = ["Row", "Table", "refused"]


class Table:
    """An open file. Raises InvalidInput for a file that is missing, not a table, or without columns."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = tables.Table(path)
        except InputError as error:
            raise refused(error) from error

    @property
    def fraction(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        return self._file.fraction

    def column(self, meaning: str, wanted: str, common: Sequence[str], required: bool = True) -> str:
        """The column to use for `meaning`: the wanted one, else the first common name, else "" if not required."""
        try:
            return self._file.column(common, required, meaning, wanted)
        except InputError as error:
            raise refused(error) from error

    def batches(self, size: int) -> Iterator[list[Row]]:
        """Rows in lists of `size`, damaged ones too."""
        yield from self._file.batches(size)


def refused(error: InputError) -> InvalidInput:
    """The library's refusal as the services'."""
    return InvalidInput([Violation(error.name, error.value, error.allowed)])
