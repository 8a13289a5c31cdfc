"""The report of an import: counts of rows, and the refused rows with their reasons. Knows no table."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Refusal:
    """row: counts the rows of the table from 1, without the header. id: "" if the row has none."""

    row: int
    id: str
    reason: str


@dataclass
class Report:
    """`unchanged`: rows that were stored before."""

    accepted: int = 0
    unchanged: int = 0
    refused: list[Refusal] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return self.accepted + self.unchanged + len(self.refused)

    def refuse(self, row: int, id: str, reason: str) -> None:
        self.refused.append(Refusal(row, id, reason))

    def write_refusals(self, path: Path) -> None:
        """One JSON object a line: {"row", "id", "reason"}."""
        with path.open("w", encoding="utf-8") as file:
            for r in self.refused:
                file.write(json.dumps({"row": r.row, "id": r.id, "reason": r.reason}, ensure_ascii=False) + "\n")


Progress = Callable[[float, Report], None]
"""(fraction of the file read, from 0 to 1; the report so far), called after every batch."""


def silent(fraction: float, report: Report) -> None:
    """The default Progress."""
