"""The report of an import: counts of rows, refused rows with their reasons, warnings, and how the table was understood. Knows no table."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

from eyecatch.core.errors import InternalError
from eyecatch.importing.tables import Row, Table

MOST = 10_000
"""Refusals and warnings that stay in memory; a file gets all of them."""
EXAMPLES = 10


@dataclass(frozen=True)
class Refusal:
    """Also of a warning. row: counts the rows of the table from 1, without the header. id: "" if the row has none."""

    row: int
    id: str
    reason: str


@dataclass(frozen=True)
class ImportOptions:
    """check: read everything and store nothing. strict: refuse a row whose picture is missing, which is otherwise a warning."""

    check: bool = False
    strict: bool = False


@dataclass
class Report:
    """`unchanged`: rows that were stored before. `unread`: rows that could not be read. `refused`, `warnings`: the first MOST of each.

    `columns`: which columns were used for what. `notes`: what else was not certain, or is missing. `examples`: the first rows as
    understood. `file`: gets every refusal, one JSON object a line.
    """

    accepted: int = 0
    unchanged: int = 0
    unread: int = 0
    refusals: int = 0
    warned: int = 0
    refused: list[Refusal] = field(default_factory=list)
    warnings: list[Refusal] = field(default_factory=list)
    columns: str = ""
    notes: list[str] = field(default_factory=list)
    examples: list[dict[str, object]] = field(default_factory=list)
    file: IO[str] | None = None
    _batch: list[Refusal] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return self.accepted + self.unchanged + self.refusals + self.unread

    def refuse(self, row: int, id: str, reason: str) -> None:
        self.refusals += 1
        self._batch.append(Refusal(row, id[:200], reason))

    def end_batch(self) -> None:
        """Put the refusals of a batch into `refused` and `file`, in the order of their rows."""
        for r in sorted(self._batch, key=lambda refusal: refusal.row):
            if len(self.refused) < MOST:
                self.refused.append(r)
            if self.file:
                self.file.write(json.dumps({"row": r.row, "id": r.id, "reason": r.reason}, ensure_ascii=False) + "\n")
        self._batch.clear()

    def warn(self, row: int, id: str, reason: str) -> None:
        self.warned += 1
        if len(self.warnings) < MOST:
            self.warnings.append(Refusal(row, id, reason))

    def note(self, words: str) -> None:
        if words not in self.notes and len(self.notes) < MOST:
            self.notes.append(words)

    def example(self, row: Row, **values: object) -> None:
        if len(self.examples) < EXAMPLES:
            self.examples.append({"row": row.number, **values})

    def readable(self, batch: Iterable[Row]) -> Iterator[Row]:
        """The rows of a batch that can be read; the others are refused, or counted as unread."""
        for row in batch:
            if row.unread:
                self.unread += row.unread
                self.note(row.problem)
            elif row.problem:
                self.refuse(row.number, "", row.problem)
            else:
                yield row

    def settle(self, table: Table) -> "Report":
        """The report itself, at its end. Raises InternalError if a row of the table is in none of its counts, or in two."""
        self.notes[:0] = [fact for fact in table.facts if fact not in self.notes]
        if self.rows != table.count:
            raise InternalError(f"{self.rows} rows in the report for {table.count} rows of the table")
        return self


Progress = Callable[[float, Report], None]
"""(fraction of the file read, from 0 to 1; the report so far), called after every batch."""


def silent(fraction: float, report: Report) -> None:
    """The default Progress."""
