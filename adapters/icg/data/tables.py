"""Rows of a CSV, TSV, JSON Lines or Parquet file as text by column, a few in memory at a time. Knows no item and no event.

Also used by `eyecatch import`. Imports neither torch nor, before a Parquet file is opened, polars.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from icg.errors import IcgError, InputError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
PARQUET_ROWS = 10_000
SAMPLED = 100
"""JSON objects whose keys are the columns: the first object may lack an optional key."""
DAMAGED = "\ufffd"
"""Replaces bytes that are not UTF-8."""


@dataclass(frozen=True)
class Row:
    """`number` counts from 1 without the header; an unreadable row has a `problem` and no values."""

    number: int
    values: dict[str, str] = field(default_factory=dict)
    problem: str = ""


class Table:
    """A file of rows. `fraction`: the share that has been read, 0..1.

    Raises InputError for a file that is missing, not a table, or has a column without a unique name.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.suffix = path, path.suffix.lower()
        if self.suffix not in SUFFIXES:
            raise InputError("file", repr(path.name), f"a name ending in {', '.join(SUFFIXES)}")
        if not path.is_file():
            raise InputError("file", repr(str(path)), "a file that exists")
        self._size = max(path.stat().st_size, 1)
        self.columns = tuple(self._columns())
        self.fraction = 0.0
        if not self.columns or len(set(self.columns)) != len(self.columns):
            raise InputError(
                "file", f"{path.name!r} with the columns {list(self.columns)}", "columns with a name, each once"
            )
        if any(DAMAGED in name for name in self.columns):
            raise InputError("file", f"{path.name!r} with other bytes in its header", "UTF-8 text")

    @classmethod
    def beside(cls, folder: Path, stem: str) -> Table | None:
        """The table `stem`.csv, .jsonl, ... of a folder, None without one. Raises IcgError for two."""
        paths = [folder / f"{stem}{suffix}" for suffix in SUFFIXES if (folder / f"{stem}{suffix}").is_file()]
        if len(paths) > 1:
            raise IcgError(f"{stem}={[path.name for path in paths]} in {str(folder)!r}; allowed: one of them")
        return cls(paths[0]) if paths else None

    def column(self, names: Sequence[str], required: bool = True, meaning: str = "", chosen: str = "") -> str:
        """The column `chosen`, else the first of `names` that the table has, in any case; "" if none is required.

        Raises InputError, which lists the columns, if the table does not have it.
        """
        lower = {column.lower(): column for column in self.columns}
        first = next((lower[name.lower()] for name in names if name.lower() in lower), "")
        column = (chosen if chosen in self.columns else "") if chosen else first
        if not column and (chosen or required):
            value = repr(chosen) if chosen else f"none of {', '.join(names)}"
            allowed = f"one of the columns of {self.path.name}: {', '.join(self.columns)}"
            raise InputError(f"columns.{meaning or names[0]}", value, allowed)
        return column

    def rows(self) -> Iterator[Row]:
        """Every row, including damaged ones."""
        if self.suffix == ".parquet":
            yield from self._parquet()
        else:
            yield from self._csv() if self.suffix in (".csv", ".tsv") else self._jsonl()
        self.fraction = 1.0

    def batches(self, size: int) -> Iterator[list[Row]]:
        """`rows` in lists of `size`."""
        rows = self.rows()
        while batch := list(islice(rows, size)):
            yield batch

    def _columns(self) -> list[str]:
        if self.suffix == ".parquet":
            import polars as pl

            try:
                return pl.scan_parquet(self.path, glob=False).collect_schema().names()
            except (pl.exceptions.PolarsError, OSError) as error:
                raise InputError("file", repr(self.path.name), f"a Parquet file ({error})") from error
        if self.suffix in (".csv", ".tsv"):
            try:
                return next(self._cells(), [])
            except csv.Error as error:
                raise InputError("file", repr(self.path.name), f"comma-separated text ({error})") from error
        return list(dict.fromkeys(name for row in islice(self._jsonl(), SAMPLED) for name in row.values))

    def _lines(self) -> Iterator[str]:
        done = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                done += len(line)
                self.fraction = done / self._size
                yield line.decode("utf-8-sig" if number == 0 else "utf-8", "replace")

    def _cells(self) -> Iterator[list[str]]:
        return csv.reader(self._lines(), delimiter="\t" if self.suffix == ".tsv" else ",", strict=True)

    def _csv(self) -> Iterator[Row]:
        reader, number = self._cells(), 0
        next(reader)
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                # The reader has lost its place in the file: the rest cannot be separated from the damage.
                yield Row(number + 1, problem=f"not readable as CSV, nor is anything after it: {error}")
                return
            if cells is None:
                return
            if not cells:
                continue  # an empty line is not a row
            number += 1
            if len(cells) != len(self.columns):
                yield Row(number, problem=f"{len(cells)} cells; allowed: {len(self.columns)}, as the header has")
            elif any(DAMAGED in cell for cell in cells):
                yield Row(number, problem="not UTF-8 text")
            else:
                yield Row(number, dict(zip(self.columns, cells, strict=True)))

    def _jsonl(self) -> Iterator[Row]:
        for number, line in enumerate((line for line in self._lines() if line.strip()), 1):
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Row(number, problem=f"not JSON: {error}")
                continue
            if not isinstance(entry, dict) or DAMAGED in line:
                yield Row(number, problem=f"{type(entry).__name__}; allowed: a JSON object in UTF-8")
            else:
                yield Row(number, {str(name): _text(value) for name, value in entry.items()})

    def _parquet(self) -> Iterator[Row]:
        import polars as pl

        lazy, start = pl.scan_parquet(self.path, glob=False), 0
        total = max(int(lazy.select(pl.len()).collect().item()), 1)
        while len(part := lazy.slice(start, PARQUET_ROWS).collect()):
            for number, cells in enumerate(part.iter_rows(), start + 1):
                self.fraction = number / total
                yield Row(number, dict(zip(self.columns, map(_text, cells), strict=True)))
            start += PARQUET_ROWS


def _text(value: object) -> str:
    """The value as in a CSV file: "" for None, whole floats without a point, lists joined by "|"."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(map(_text, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    moment = getattr(value, "isoformat", None)
    return str(moment()) if moment else str(value)
