"""A table of users' own vectors -> the store. Importing it again changes nothing. Knows no command line."""

import re
from dataclasses import dataclass

import numpy as np

from eyecatch.core.behaviour.vectors import VectorIntake
from eyecatch.core.errors import InvalidInput, shorten
from eyecatch.core.limits import Check
from eyecatch.core.types import UserVector, Vector
from eyecatch.importing.report import Progress, Report, silent
from eyecatch.importing.tables import Row, Table

BATCH = 500
_USER = ("user_id", "user", "userId", "customer_id")
_EMBEDDING = ("embedding", "vector", "user_embedding", "values")
_BETWEEN = re.compile(r"[|,;\s]+")


@dataclass(frozen=True)
class UserColumns:
    """Column names; "" or () for a common name. Several columns of `embedding` are joined in their order."""

    user: str = ""
    embedding: tuple[str, ...] = ()

    def resolve(self, table: Table) -> "UserColumns":
        """The names in `table`. Raises InvalidInput naming the table's columns if one is missing."""
        names = self.embedding or ("",)
        return UserColumns(
            table.column("user", self.user, _USER),
            tuple(table.column("embedding", name, _EMBEDDING) for name in names),
        )


async def import_users(
    table: Table, intake: VectorIntake, columns: UserColumns | None = None, progress: Progress = silent
) -> Report:
    """Store the vector of every row. Rows with another width than the vectors before are refused; forgotten users count as unchanged."""
    names = (columns or UserColumns()).resolve(table)
    report = Report()
    earlier: set[str] = set()
    for batch in table.batches(BATCH):
        read: list[tuple[Row, UserVector]] = []
        for row in batch:
            try:
                read.append((row, _vector(row, names)))
            except InvalidInput as error:
                report.refuse(row.number, row.values.get(names.user, "")[:200], str(error))
        width = await intake.width([vector for _, vector in read])
        good = []
        for row, vector in read:
            check = Check()
            check.id("user_id", vector.user_id)
            check.vector("embedding", vector.values, width)
            if vector.user_id in earlier:
                check.refuse("user_id", vector.user_id, "each id once")
            if check.violations:
                report.refuse(row.number, vector.user_id[:200], "; ".join(map(str, check.violations)))
                continue
            earlier.add(vector.user_id)
            good.append(vector)
        stored = await intake.put(good)
        report.accepted += stored
        report.unchanged += len(good) - stored
        progress(table.fraction, report)
    report.refused.sort(key=lambda refusal: refusal.row)
    return report


def _vector(row: Row, columns: UserColumns) -> UserVector:
    if row.problem:
        raise InvalidInput.of("row", row.number, row.problem)
    numbers = [numbers_of(row.values.get(name, ""), name) for name in columns.embedding]
    return UserVector(row.values.get(columns.user, ""), np.concatenate(numbers))


def numbers_of(text: str, field: str) -> Vector:
    """The numbers (W,) of a cell: separated by "|", commas or spaces, with or without brackets. Raises InvalidInput."""
    parts = [part for part in _BETWEEN.split(text.strip().strip("[]()")) if part]
    try:
        with np.errstate(over="ignore"):  # what is too large for 32 bits becomes infinite, which Check.vector refuses
            return np.array([float(part) for part in parts], np.float64).astype(np.float32)
    except ValueError as error:
        bad = next((part for part in parts if not _is_number(part)), text)
        raise InvalidInput.of(field, shorten(bad), 'numbers separated by "|", commas or spaces') from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
