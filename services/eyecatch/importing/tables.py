"""Tables and their columns, found by the caller's names or else by common names. `icg.data.tables` reads the file."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from icg.data import tables
from icg.data.tables import Row, TableOptions
from icg.errors import InputError

from eyecatch.core.errors import InvalidInput, Violation
from eyecatch.core.limits import Check

__all__ = ["Row", "Table", "TableOptions", "check_id", "text_of", "translate"]

MISSING = frozenset(("nan", "null", "none", "<na>", "n/a", "nat", "undefined"))
"""How programs write a missing value, in any case."""
_SHORTENED = re.compile(r"\d(\.\d+)?[eE]\+\d+")


class Table:
    """An open table. Raises InvalidInput for a file that is missing, is not a table, or has no columns."""

    def __init__(self, path: Path, options: TableOptions | None = None) -> None:
        try:
            self._file = tables.Table(path, options)
        except InputError as error:
            raise translate(error) from error

    @property
    def fraction(self) -> float:
        """The part of the file that was read, 0 to 1."""
        return self._file.fraction

    @property
    def count(self) -> int:
        """The rows that were read, or counted as unread, so far."""
        return self._file.count

    @property
    def facts(self) -> list[str]:
        """How the file is read where that is not certain, in words."""
        return self._file.facts

    @property
    def columns(self) -> tuple[str, ...]:
        return self._file.columns

    def column(self, meaning: str, name: str, common: Sequence[str], required: bool = True) -> str:
        """The column for `meaning`: `name`, else the first common name that exists, else "" if not required."""
        try:
            return self._file.column(common, required, meaning, name)
        except InputError as error:
            raise translate(error) from error

    def batches(self, size: int) -> Iterator[list[Row]]:
        """Rows in lists of `size`, including damaged rows."""
        yield from self._file.batches(size)


def text_of(row: Row, column: str) -> str:
    """The cell; "" without a column. Raises InvalidInput for one that cannot be used as text, such as an object."""
    try:
        return row.text(column)
    except InputError as error:
        raise translate(error) from error


def optional(text: str) -> str:
    """The text, "" for a word that means a missing value."""
    return "" if text.lower() in MISSING else text


def check_id(check: Check, field: str, text: str) -> None:
    """Refuse what programs write in place of an id: many rows would get the same."""
    if text.lower() in MISSING:
        check.refuse(field, text, "an id; programs write this for a missing one")
    elif text and _SHORTENED.fullmatch(text):
        check.refuse(field, text, "an id with all its digits; a spreadsheet has shortened this one")


def translate(error: InputError) -> InvalidInput:
    """An error of icg as an error of the core."""
    return InvalidInput([Violation(error.name, error.value, error.allowed)])
