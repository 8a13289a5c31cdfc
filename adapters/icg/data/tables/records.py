"""Lines of delimited text -> records. After a damaged line it goes on with the next one. Knows no column.

A record is as in RFC 4180: cells in quotes may hold delimiters and line ends, and double their quotes. Files of other programs also have
backslashes before quotes, or quotes that mean themselves; a line is read so if that gives the right number of cells and nothing else does.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator

from icg.data.tables.delimiters import cells
from icg.data.tables.files import LONGEST_LINE

MOST_LINES = 1000
"""Lines of one record. A quote that is not closed after so many is damage."""
csv.field_size_limit(2 * LONGEST_LINE)


class Records:
    """Iterates over the records: a list of cells, or a text that says what is wrong with a line. `width`: the usual number of cells."""

    def __init__(self, lines: Iterator[str], delimiter: str, width: int) -> None:
        self._lines, self._delimiter, self._width = lines, delimiter, width
        self._again: deque[str] = deque()

    def __iter__(self) -> Iterator[list[str] | str]:
        delimiter, plain = self._delimiter, len(self._delimiter) > 1
        while (line := self._next()) is not None:
            body = line.rstrip("\r\n")
            if len(line) >= LONGEST_LINE and body == line:
                self._skip()
                yield f"a line of more than {LONGEST_LINE} characters"
            elif not body or (body.isspace() and delimiter not in body):
                continue  # an empty line is not a row
            elif plain or '"' not in body:
                yield body.split(delimiter)
            else:
                yield from self._quoted(line, body)

    def _next(self) -> str | None:
        return self._again.popleft() if self._again else next(self._lines, None)

    def _skip(self) -> None:
        while (line := self._next()) is not None and not line.endswith(("\n", "\r")):
            pass

    def _quoted(self, line: str, body: str) -> Iterator[list[str] | str]:
        row = cells(body, self._delimiter)
        if row is not None and len(row) == self._width:
            yield row
            return
        if body.count('"') % 2:
            span = self._span(line)
            whole = self._whole(span)
            if whole is not None and not all(self._looks_like_a_record(one) for one in span):
                yield whole
                return
            if whole is not None and len(span) <= 4:
                yield from ["its lines are one record by the quotes, and a record each without them"] * len(span)
                return
            self._again.extendleft(reversed(span[1:]))
        other = self._lenient(body)
        yield other if other is not None else row if row is not None else "a quote that is not closed, or not doubled"

    def _span(self, line: str) -> list[str]:
        """The lines from this one to the one that closes its quote, or this one alone."""
        span, size = [line], len(line)
        while len(span) < MOST_LINES and size < LONGEST_LINE and (other := self._next()) is not None:
            span.append(other)
            size += len(other)
            if other.count('"') % 2:
                return span
        self._again.extendleft(reversed(span[1:]))
        return span[:1]

    def _whole(self, span: list[str]) -> list[str] | None:
        if len(span) == 1:
            return None
        text = [*span[:-1], span[-1].rstrip("\r\n")]
        try:
            rows = list(csv.reader(text, delimiter=self._delimiter, strict=True))
        except csv.Error:
            return None
        return rows[0] if len(rows) == 1 and len(rows[0]) == self._width else None

    def _looks_like_a_record(self, line: str) -> bool:
        return len(line.rstrip("\r\n").split(self._delimiter)) == self._width > 1

    def _lenient(self, body: str) -> list[str] | None:
        """The cells if quotes follow a backslash, come after spaces, or mean themselves; None if these do not give `width` cells."""
        if body.count("\\") == body.count('\\"') + 2 * body.count("\\\\"):
            row = self._read(body, escapechar="\\")
            if row is not None:
                return row
        row = self._read(body, skipinitialspace=True)
        if row is not None:
            return row
        row = body.split(self._delimiter)
        if len(row) != self._width:
            return None
        if self._delimiter != "\t" and any(map(_is_half, row)):
            return None  # a delimiter of a cell in quotes was taken for one between cells
        return [_unquoted(cell) for cell in row]

    def _read(self, body: str, **options: object) -> list[str] | None:
        try:
            row = next(csv.reader((body,), delimiter=self._delimiter, strict=True, **options))  # type: ignore[call-overload]
        except (csv.Error, StopIteration):
            return None
        return row if len(row) == self._width else None


def _is_half(cell: str) -> bool:
    """Whether a cell in quotes only begins here."""
    return cell.startswith('"') and cell.count('"') % 2 == 1 and not (len(cell) > 1 and cell.endswith('"'))


def _unquoted(cell: str) -> str:
    """A cell in quotes without them, also with one quote inside that is not doubled; any other one as it is."""
    inner = cell[1:-1]
    if len(cell) < 2 or cell[0] != '"' or cell[-1] != '"':
        return cell
    return inner.replace('""', '"') if '"' not in inner.replace('""', "") or cell.count('"') % 2 else cell
