"""A table of users' own vectors -> the store. Importing it again changes nothing. Knows no command line."""

from dataclasses import dataclass

from icg.data import column_names

from eyecatch.core.behaviour.vectors import VectorIntake
from eyecatch.core.errors import InvalidInput
from eyecatch.core.limits import Check
from eyecatch.core.types import UserVector
from eyecatch.importing.numbers import EMBEDDING, vector_of
from eyecatch.importing.report import ImportOptions, Progress, Report, silent
from eyecatch.importing.tables import Row, Table, check_id, text_of

BATCH = 500


@dataclass(frozen=True)
class UserColumns:
    """Column names; "" or () for a common name. Several columns of `embedding` are joined in their order."""

    user: str = ""
    embedding: tuple[str, ...] = ()

    def resolve(self, table: Table) -> "UserColumns":
        """The names in `table`. Raises InvalidInput naming the table's columns if one is missing."""
        names = self.embedding or ("",)
        return UserColumns(
            table.column("user", self.user, column_names.USER),
            tuple(table.column("embedding", name, EMBEDDING) for name in names),
        )


async def import_users(
    table: Table,
    intake: VectorIntake,
    columns: UserColumns | None = None,
    progress: Progress = silent,
    options: ImportOptions | None = None,
    report: Report | None = None,
) -> Report:
    """Store the vector of every row. Rows with another width than the vectors before are refused; forgotten users count as unchanged.

    Raises InvalidInput for the table as a whole, StoreFull, Unavailable.
    """
    names, options, report = (columns or UserColumns()).resolve(table), options or ImportOptions(), report or Report()
    report.columns = f"user from {names.user!r}, embedding from {', '.join(map(repr, names.embedding))}"
    earlier: set[str] = set()
    for batch in table.batches(BATCH):
        read = list[tuple[Row, UserVector]]()
        for row in report.readable(batch):
            try:
                read.append((row, _vector(row, names)))
            except InvalidInput as error:
                report.refuse(row.number, row.values.get(names.user, ""), str(error))
        width = await intake.width([vector for _, vector in read])
        good = []
        for row, vector in read:
            check = Check()
            check.id("user_id", vector.user_id)
            check_id(check, "user_id", vector.user_id)
            check.vector("embedding", vector.values, width)
            if vector.user_id in earlier:
                check.refuse("user_id", vector.user_id, "each id once")
            if check.violations:
                report.refuse(row.number, vector.user_id, "; ".join(map(str, check.violations)))
                continue
            earlier.add(vector.user_id)
            good.append(vector)
            report.example(row, user=vector.user_id, numbers=len(vector.values), first=vector.values[:4].tolist())
        stored = len(good) if options.check else await intake.put(good)
        report.accepted += stored
        report.unchanged += len(good) - stored
        report.end_batch()
        progress(table.fraction, report)
    return report.settle(table)


def _vector(row: Row, columns: UserColumns) -> UserVector:
    return UserVector(text_of(row, columns.user), vector_of(row, columns.embedding))
