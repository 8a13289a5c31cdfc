"""A table of users' own vectors -> the store. Importing it again changes nothing. Knows no command line."""

from dataclasses import dataclass

from eyecatch.core.behaviour.vectors import VectorIntake
from eyecatch.core.errors import InvalidInput
from eyecatch.core.limits import Check
from eyecatch.core.types import UserVector
from eyecatch.importing.numbers import EMBEDDING, vector_of
from eyecatch.importing.report import Progress, Report, silent
from eyecatch.importing.tables import Row, Table

BATCH = 500
_USER = ("user_id", "user", "userId", "customer_id")


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
            tuple(table.column("embedding", name, EMBEDDING) for name in names),
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
    return UserVector(row.values.get(columns.user, ""), vector_of(row, columns.embedding))
