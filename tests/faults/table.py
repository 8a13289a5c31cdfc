"""The table of docs/reliability-of-service.md, from what the tests of faults measure: `make test-faults` writes it."""

import os
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability-of-service.md"
BEGIN, END = "<!-- faults: written by make test-faults -->", "<!-- end of faults -->"
WRITE = "EYECATCH_FAULTS_TABLE"
"""Set this in the environment to write the page at the end of the tests."""


@dataclass
class Row:
    """One fault. lost, twice: events, jobs or calls lost or counted twice. seconds: from the fault's end until all is well.

    None: not measured.
    """

    expected: str
    outcome: str
    lost: int | None = None
    twice: int | None = None
    seconds: float | None = None


class Table:
    """Rows by fault. A fault that several tests look at has the sum of losses and the longest time."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def add(self, fault: str, row: Row) -> None:
        before = self.rows.get(fault)
        if before is not None:
            row.lost, row.twice = _sum(row.lost, before.lost), _sum(row.twice, before.twice)
            row.seconds = max(row.seconds or 0.0, before.seconds or 0.0)
        self.rows[fault] = row

    def text(self) -> str:
        lines = ["| fault | expected | seen | lost | twice | seconds to recover |", "|---|---|---|---|---|---|"]
        for fault, row in sorted(self.rows.items()):
            seconds = "–" if row.seconds is None else f"{row.seconds:.1f}"
            counts = ["–" if count is None else str(count) for count in (row.lost, row.twice)]
            lines.append(f"| {' | '.join([fault, row.expected, row.outcome, *counts, seconds])} |")
        return "\n".join(lines)

    def write(self) -> None:
        """Replace the table of the page, if that is wanted and there are rows."""
        if self.rows and os.environ.get(WRITE):
            text = PAGE.read_text()
            head, rest = text.split(BEGIN)
            _, tail = rest.split(END)
            PAGE.write_text(f"{head}{BEGIN}\n\n{self.text()}\n\n{END}{tail}")


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
