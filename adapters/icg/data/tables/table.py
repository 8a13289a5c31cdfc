"""A table: CSV, TSV or other delimited text, JSON Lines or Parquet, one file or a folder of parts -> rows of text by column.

Rows stream, a few in memory at a time. Also used by `eyecatch import`. Imports neither torch nor, before Parquet is opened, polars.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from icg.data.column_names import COMMON, plain
from icg.data.tables import encodings, files, parquet, text
from icg.data.tables.cells import NUL_MARK, CellProblem, cell, decoded
from icg.data.tables.encodings import Encoding
from icg.data.tables.files import TablePart
from icg.data.tables.text import Progress, TextLayout
from icg.errors import IcgError, InputError


@dataclass(frozen=True, slots=True)
class Row:
    """`number` counts from 1 without the header. A row that cannot be read has a `problem` and no values; if it stands for
    several that could not even be separated, `unread` is their number. `unfit`: why a column's cell cannot be used as text."""

    number: int
    values: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    unread: int = 0
    unfit: Mapping[str, str] | None = None

    def text(self, column: str) -> str:
        """The cell; "" without a column, or if the row has none. Raises InputError for one that cannot be used as text."""
        if self.unfit and column in self.unfit:
            value, _, allowed = self.unfit[column].partition("; allowed: ")
            raise InputError(column, value, allowed)
        return self.values.get(column, "")


@dataclass(frozen=True)
class TableOptions:
    """What the caller knows of a file: "" and () to detect it. `columns`: the names of a file without a header."""

    encoding: str = ""
    delimiter: str = ""
    columns: tuple[str, ...] = ()


class Table:
    """A table. `fraction`: the share that has been read, 0..1. `count`: rows that were read, or counted as unread, so far.

    `facts`: how the file is read where that is not certain, in words. Raises InputError for what is missing or is not a table.
    """

    def __init__(self, path: Path, options: TableOptions | None = None) -> None:
        self.path, self._options = path, options or TableOptions()
        self._parts = files.parts(path)
        self._bytes, self._before = max(sum(part.path.stat().st_size for part in self._parts), 1), 0
        self._encodings: dict[Path, Encoding] = {}
        self._layouts: dict[Path, TextLayout] = {}
        self._twice: set[str] = set()
        self.fraction, self.count, self.facts = 0.0, 0, list[str]()
        names = dict.fromkeys(name for part in self._parts for name in self._open(part))
        self.columns = tuple(dict.fromkeys([*names, *(key for part in self._parts for key in part.keys)]))
        if not self.columns:
            raise InputError("file", f"{path.name!r} without a column", "columns with a name")
        self._check()

    @classmethod
    def beside(cls, folder: Path, stem: str) -> Table | None:
        """The table `stem`.csv, .jsonl, ... of a folder, None without one. Raises IcgError for two."""
        paths = [path for suffix in files.SUFFIXES if (path := folder / f"{stem}{suffix}").exists()]
        if len(paths) > 1:
            raise IcgError(f"{stem}={[path.name for path in paths]} in {str(folder)!r}; allowed: one of them")
        return cls(paths[0]) if paths else None

    def column(self, names: Sequence[str], required: bool = True, meaning: str = "", chosen: str = "") -> str:
        """The column `chosen`, else the first of `names` that the table has, in any case and with any marks between its words; "" if
        none is required. Raises InputError, which lists the columns, if the table does not have it or has several."""
        matches = [chosen] if chosen in self.columns else []
        for name in () if matches else [chosen] if chosen else names:
            exact = [column for column in self.columns if column == name]
            matches = exact or [column for column in self.columns if column and plain(column) == plain(name)]
            if matches:
                break
        if len(matches) > 1 or (matches and plain(matches[0]) in self._twice):
            value = (
                f"{len(matches)} columns ({', '.join(matches)})"
                if len(matches) > 1
                else f"{matches[0]!r}, which the header has twice"
            )
            raise InputError(
                f"columns.{meaning or names[0]}", value, "one column of such a name, or one that the caller names"
            )
        if not matches and (chosen or required):
            value = repr(chosen) if chosen else f"none of {', '.join(names)}"
            shown = ", ".join(column[:40] for column in self.columns[:40])
            header = (
                ""
                if self._layouts == {}
                else ". If this is a row and no header, name the columns in their order (--columns)"
            )
            raise InputError(
                f"columns.{meaning or names[0]}", value, f"one of the columns of {self.path.name}: {shown}{header}"
            )
        return matches[0] if matches else ""

    def rows(self) -> Iterator[Row]:
        """Every row, including damaged ones."""
        self.count, self._before = 0, 0
        for part in self._parts:
            yield from self._parquet(part) if part.kind == "parquet" else self._text(part)
            self._before += part.path.stat().st_size
        self.fraction = 1.0

    def batches(self, size: int) -> Iterator[list[Row]]:
        """`rows` in lists of `size`."""
        rows = self.rows()
        while batch := list(islice(rows, size)):
            yield batch

    def _check(self) -> None:
        headers = {layout.header for layout in self._layouts.values()}
        if len(headers) > 1:
            raise InputError(
                "file", f"{str(self.path)!r}, a folder of files with different headers", "the parts of one table"
            )
        names = self._options.columns
        if not names or not self._layouts:
            return
        first = next(iter(self._layouts.values()))
        if not first.header and len(names) > first.delimiter.width:
            raise InputError(
                "columns",
                f"{len(names)} names for {first.delimiter.width} cells",
                "a name for each cell, or for the first ones",
            )
        if not first.header:
            row = next(
                iter(
                    text.records(
                        self._parts[0], self._encoding(self._parts[0]), first, first.delimiter.width, Progress()
                    )
                ),
                "",
            )
            if isinstance(row, list) and len({plain(name) for name in row} & COMMON) > 1:
                raise InputError(
                    "columns",
                    f"names for a file whose first line is a header ({', '.join(row)[:200]})",
                    "a file without a header",
                )

    def _open(self, part: TablePart) -> list[str]:
        if part.kind == "parquet":
            return parquet.columns(part.path)
        if part.kind == "json":
            rows = text.objects(part, self._encoding(part), Progress())
            return list(dict.fromkeys(str(name) for row in rows if isinstance(row, dict) for name in row))
        layout = text.layout(part, self._encoding(part), self._options.delimiter, self._options.columns)
        self._layouts[part.path] = layout
        if layout.delimiter.how:
            self._fact(f"cells are separated by {layout.delimiter.text!r} ({layout.delimiter.how})")
        self._twice |= {plain(name) for name, times in Counter(layout.header).items() if times > 1}
        return _names(layout, self._options.columns)

    def _encoding(self, part: TablePart) -> Encoding:
        if part.path not in self._encodings:
            name = self._options.encoding
            encoding = encodings.by_name(name) if name else encodings.detect(part.path)
            self._encodings[part.path] = encoding
            if encoding.how:
                self._fact(f"text is {encoding.name.removesuffix('-sig')} ({encoding.how})")
        return self._encodings[part.path]

    def _fact(self, words: str) -> None:
        if words not in self.facts:
            self.facts.append(words)

    def _text(self, part: TablePart) -> Iterator[Row]:
        progress = Progress()
        rows = self._json(part, progress) if part.kind == "json" else self._delimited(part, progress)
        for values in rows:
            self.count += 1
            self.fraction = min((self._before + progress.place) / self._bytes, 1.0)
            yield self._row(part, values)
        if progress.damage:
            self.count += 1
            yield Row(
                self.count,
                problem=f"{part.path.name} is damaged here and cannot be read any further: {progress.damage[:200]}",
            )

    def _row(self, part: TablePart, values: dict[str, str] | str) -> Row:
        if isinstance(values, str):
            return Row(self.count, problem=values)
        if part.keys:
            values = values | part.keys
        unfit = {name: text for name, text in values.items() if type(text) is CellProblem}
        return Row(
            self.count, {n: t for n, t in values.items() if n not in unfit} if unfit else values, unfit=unfit or None
        )

    def _json(self, part: TablePart, progress: Progress) -> Iterator[dict[str, str] | str]:
        for entry in text.objects(part, self._encoding(part), progress):
            yield entry if isinstance(entry, str) else {str(name): cell(value) for name, value in entry.items()}

    def _delimited(self, part: TablePart, progress: Progress) -> Iterator[dict[str, str] | str]:
        layout, encoding = self._layouts[part.path], self._encoding(part)
        names = _names(layout, self._options.columns)
        width = len(names)
        for cells in text.records(part, encoding, layout, width, progress):
            if isinstance(cells, str):
                yield cells
                continue
            if len(cells) != width and (len(cells) < width or any(cells[width:])):
                yield f"{len(cells)} cells; allowed: {width}{', as the header has' if layout.header else ''}"
                continue
            values = dict(zip(names, cells, strict=False))
            line = "".join(cells)
            if not line.isascii() or NUL_MARK in line:
                values = {name: "" if text == NUL_MARK else decoded(text) for name, text in values.items()}
            yield values

    def _parquet(self, part: TablePart) -> Iterator[Row]:
        names, total, number = parquet.columns(part.path), max(parquet.count(part.path), 1), 0
        for batch in parquet.batches(part.path):
            size = batch[0] if isinstance(batch, tuple) else len(batch[0])
            if isinstance(batch, tuple):
                self.count += size
                yield Row(
                    self.count - size + 1,
                    problem=f"rows {self.count - size + 1} to {self.count}: {batch[1]}",
                    unread=size,
                )
            else:
                for cells in zip(*batch, strict=True):
                    number, self.count = number + 1, self.count + 1
                    self.fraction = min((self._before + part.path.stat().st_size * number / total) / self._bytes, 1.0)
                    yield self._row(part, dict(zip(names, cells, strict=True)))


def _names(layout: TextLayout, first: Sequence[str]) -> list[str]:
    """A name for each cell, each once: cells without a name get none that is looked up, and a second one of a name is numbered."""
    names = layout.header or first
    width = len(names) if layout.header or not names else max(layout.delimiter.width, len(names))
    out: list[str] = []
    counts = Counter[str]()
    for n in range(width):
        name = names[n].strip() if n < len(names) else ""
        counts[name] += 1
        out.append(name if name and counts[name] == 1 else f"{name or 'column'} {n + 1}")
    return out
