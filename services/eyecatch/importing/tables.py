"""Rows of a CSV, JSON Lines or Parquet file, one batch in memory, as text by column. Knows no item and no event."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import polars as pl

from eyecatch.core.errors import InvalidInput

FORMATS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclass(frozen=True)
class Row:
    """`values` by column; a row that cannot be read has a `problem` instead."""

    number: int
    values: dict[str, str] = field(default_factory=dict)
    problem: str = ""


class Table:
    """An open file. Raises InvalidInput for a file that is missing, not a table, or without columns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kind = FORMATS.get(path.suffix.lower(), "")
        if not self._kind:
            raise InvalidInput.of("file", path.name, f"a name ending in {', '.join(FORMATS)}")
        if not path.is_file():
            raise InvalidInput.of("file", str(path), "a file that exists")
        self._size = max(path.stat().st_size, 1)
        self._done = 0.0
        self._separator = "\t" if path.suffix.lower() == ".tsv" else ","
        self.columns = self._columns()

    @property
    def fraction(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        return min(self._done, 1.0)

    def column(self, meaning: str, wanted: str, common: Sequence[str], required: bool = True) -> str:
        """The column to use for `meaning`: the wanted one, else the first common name, else "" if not required."""
        by_lower = {name.lower(): name for name in self.columns}
        if wanted:
            found = wanted if wanted in self.columns else ""
        else:
            found = next((by_lower[name.lower()] for name in common if name.lower() in by_lower), "")
        if not found and (wanted or required):
            allowed = "one of the file's columns: " + ", ".join(self.columns)
            raise InvalidInput.of(f"columns.{meaning}", wanted or f"none of {', '.join(common)}", allowed)
        return found

    def batches(self, size: int) -> Iterator[list[Row]]:
        rows = {"csv": self._csv, "jsonl": self._jsonl, "parquet": self._parquet}[self._kind]()
        while batch := list(islice(rows, size)):
            yield batch
        self._done = 1.0

    def _columns(self) -> tuple[str, ...]:
        if self._kind == "parquet":
            try:
                names = tuple(pl.scan_parquet(self.path, glob=False).collect_schema().names())
            except (pl.exceptions.PolarsError, OSError) as error:
                raise InvalidInput.of("file", self.path.name, f"a Parquet file ({error})") from error
        elif self._kind == "jsonl":
            names = tuple(next((tuple(row.values) for row in self._jsonl() if not row.problem), ()))
        else:
            with self.path.open("rb") as file:
                try:
                    names = tuple(next(csv.reader(self._lines(file), delimiter=self._separator, strict=True), []))
                except (csv.Error, UnicodeDecodeError) as error:
                    raise InvalidInput.of("file", self.path.name, f"comma-separated UTF-8 text ({error})") from error
        self._done = 0.0
        if not names or len(set(names)) != len(names):
            raise InvalidInput.of("file", self.path.name, "a table whose columns have names, each once")
        return names

    def _lines(self, file: BinaryIO) -> Iterator[str]:
        for number, line in enumerate(file):
            self._done += len(line) / self._size
            yield line.decode("utf-8-sig" if number == 0 else "utf-8")

    def _csv(self) -> Iterator[Row]:
        with self.path.open("rb") as file:
            reader = csv.reader(self._lines(file), delimiter=self._separator, strict=True)
            next(reader)
            number = 0
            while True:
                number += 1
                try:
                    cells = next(reader, None)
                except (csv.Error, UnicodeDecodeError) as error:
                    # The reader has lost its place in the file: what follows cannot be told from the damage.
                    yield Row(number, problem=f"not readable as CSV, nor is anything after it: {error}")
                    return
                if cells is None:
                    return
                if not cells:
                    number -= 1  # an empty line is no row
                elif len(cells) != len(self.columns):
                    yield Row(number, problem=f"{len(cells)} cells; allowed: {len(self.columns)}")
                else:
                    yield Row(number, dict(zip(self.columns, cells, strict=True)))

    def _jsonl(self) -> Iterator[Row]:
        with self.path.open("rb") as file:
            number = 0
            for line in file:
                self._done += len(line) / self._size
                if not line.strip():
                    continue
                number += 1
                try:
                    entry = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield Row(number, problem=f"not JSON: {error}")
                    continue
                if isinstance(entry, dict):
                    yield Row(number, {str(name): _text(value) for name, value in entry.items()})
                else:
                    yield Row(number, problem=f"{type(entry).__name__}; allowed: a JSON object")

    def _parquet(self, chunk: int = 50_000) -> Iterator[Row]:
        lazy = pl.scan_parquet(self.path, glob=False)
        total = max(int(lazy.select(pl.len()).collect().item()), 1)
        for start in range(0, total, chunk):
            frame = lazy.slice(start, chunk).collect()
            for number, cells in enumerate(frame.iter_rows(), start + 1):
                self._done = number / total
                yield Row(number, dict(zip(self.columns, map(_text, cells), strict=True)))


def _text(value: object) -> str:
    """A cell as the text a CSV file would hold: nothing for None, lists joined by "|", times in ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(map(_text, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    isoformat = getattr(value, "isoformat", None)
    return str(isoformat()) if isoformat else str(value)


def file_inside(root: Path, text: str, field: str, max_bytes: int) -> bytes:
    """The bytes of a file below `root`. Addresses, absolute paths and ways out (.., links) are refused."""
    allowed = f"the relative path of a file of at most {max_bytes} bytes inside the pictures' folder"
    base = root.resolve()
    if "://" in text or "\0" in text or Path(text).is_absolute():
        raise InvalidInput.of(field, text, allowed)
    try:
        path = (base / text).resolve(strict=True)
        if not path.is_relative_to(base) or not path.is_file() or os.stat(path).st_size > max_bytes:
            raise InvalidInput.of(field, text, allowed)
        return path.read_bytes()
    except (OSError, RuntimeError, ValueError):
        raise InvalidInput.of(field, text, allowed) from None
