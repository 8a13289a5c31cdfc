"""Rows of a CSV, TSV, JSON Lines or Parquet file as text by column, a few in memory at a time. Knows no item and no event."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from icg.errors import IcgError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
PARQUET_ROWS = 10_000
LOOKED = 100
"""JSON objects whose keys make the columns: what is optional may be absent from the first one."""
DAMAGED = "\ufffd"
"""Stands for bytes that are no UTF-8."""


@dataclass(frozen=True)
class Row:
    """`number` counts from 1 without the header; a row that cannot be read has a `problem` and no values."""

    number: int
    values: dict[str, str] = field(default_factory=dict)
    problem: str = ""


class Table:
    """A file of rows. Raises IcgError when it is missing, no table, or its columns have no names."""

    def __init__(self, path: Path) -> None:
        self.path, self.suffix = path, path.suffix.lower()
        if self.suffix not in SUFFIXES:
            raise IcgError(f"table={str(path)!r}; allowed: a name ending in {', '.join(SUFFIXES)}")
        if not path.is_file():
            raise IcgError(f"table={str(path)!r}: no such file; allowed: a table with named columns")
        self.columns = tuple(self._columns())
        if not self.columns or len(set(self.columns)) != len(self.columns):
            raise IcgError(f"table={str(path)!r}: columns {list(self.columns)}; allowed: columns with a name each")

    @classmethod
    def beside(cls, folder: Path, stem: str) -> Table | None:
        """The table `stem`.csv, .jsonl, ... of a folder, None without one; IcgError when there are two."""
        found = [folder / f"{stem}{suffix}" for suffix in SUFFIXES if (folder / f"{stem}{suffix}").is_file()]
        if len(found) > 1:
            raise IcgError(f"{stem}={[path.name for path in found]} in {str(folder)!r}; allowed: one of them")
        return cls(found[0]) if found else None

    def column(self, names: Sequence[str], required: bool = True) -> str:
        """The first of `names` that the table has, whatever its case; "" where none is and none is required."""
        lower = {column.lower(): column for column in self.columns}
        found = next((lower[name.lower()] for name in names if name.lower() in lower), "")
        if required and not found:
            have = ", ".join(self.columns)
            raise IcgError(f"table={str(self.path)!r} has the columns {have}; allowed: one of {', '.join(names)}")
        return found

    def rows(self) -> Iterator[Row]:
        """Every row, damaged ones too."""
        if self.suffix == ".parquet":
            return self._parquet()
        return self._csv() if self.suffix in (".csv", ".tsv") else self._jsonl()

    def _columns(self) -> list[str]:
        if self.suffix == ".parquet":
            import polars as pl

            try:
                return pl.scan_parquet(self.path, glob=False).collect_schema().names()
            except (pl.exceptions.PolarsError, OSError) as error:
                raise IcgError(f"table={str(self.path)!r}: not readable ({error}); allowed: Parquet") from error
        if self.suffix in (".csv", ".tsv"):
            with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                return next(self._cells(file), [])
        return list(dict.fromkeys(name for row in islice(self._jsonl(), LOOKED) for name in row.values))

    def _cells(self, file: Iterator[str]) -> Iterator[list[str]]:
        return csv.reader(file, delimiter="\t" if self.suffix == ".tsv" else ",")

    def _csv(self) -> Iterator[Row]:
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader, number = self._cells(file), 0
            next(reader)
            while True:
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    number += 1
                    yield Row(number, problem=f"not comma-separated text ({error})")
                    continue
                if cells is None:
                    return
                if not cells:
                    continue  # an empty line is no row
                number += 1
                if len(cells) != len(self.columns):
                    yield Row(number, problem=f"{len(cells)} cells where the header has {len(self.columns)}")
                elif any(DAMAGED in cell for cell in cells):
                    yield Row(number, problem="not UTF-8 text")
                else:
                    yield Row(number, dict(zip(self.columns, cells, strict=True)))

    def _jsonl(self) -> Iterator[Row]:
        number = 0
        with self.path.open(encoding="utf-8-sig", errors="replace") as file:
            for line in file:
                if not line.strip():
                    continue
                number += 1
                try:
                    stated = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield Row(number, problem=f"not JSON ({error})")
                    continue
                if not isinstance(stated, dict) or DAMAGED in line:
                    yield Row(number, problem="not a JSON object in UTF-8")
                else:
                    yield Row(number, {str(name): _text(value) for name, value in stated.items()})

    def _parquet(self) -> Iterator[Row]:
        import polars as pl

        lazy, start = pl.scan_parquet(self.path, glob=False), 0
        while len(part := lazy.slice(start, PARQUET_ROWS).collect()):
            for number, cells in enumerate(part.iter_rows(), start + 1):
                yield Row(number, dict(zip(self.columns, map(_text, cells), strict=True)))
            start += PARQUET_ROWS


def _text(value: object) -> str:
    """As a CSV file would hold it: nothing for None, whole floats without a point, lists joined by "|"."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(map(_text, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    moment = getattr(value, "isoformat", None)
    return str(moment()) if moment else str(value)
