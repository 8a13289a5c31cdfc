"""A Parquet file -> columns of text, a few thousand rows in memory at a time. Imports polars when a file is opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from icg.data.tables.cells import CellProblem, cell
from icg.errors import InputError

if TYPE_CHECKING:
    import polars as pl

ROWS = 10_000
FINE = 1_000
"""Rows that are left out together if they cannot be read."""


def columns(path: Path) -> list[str]:
    """The names. Raises InputError for a file that is not Parquet, or is damaged at its end."""
    import polars as pl

    try:
        return pl.scan_parquet(path, glob=False).collect_schema().names()
    except _damage() as error:
        raise InputError("file", repr(path.name), f"a Parquet file ({_words(error)})") from error


def count(path: Path) -> int:
    """The number of rows, by the file's own record."""
    import polars as pl

    try:
        return int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
    except _damage() as error:
        raise InputError("file", repr(path.name), f"a Parquet file ({_words(error)})") from error


def batches(path: Path) -> Iterator[list[list[str]] | tuple[int, str]]:
    """Columns of text of the next rows, or (the number of the next rows, why they cannot be read)."""
    import polars as pl

    lazy, total, start, size = pl.scan_parquet(path, glob=False), count(path), 0, ROWS
    unread, why = 0, ""
    while start < total:
        size = min(size, total - start)
        try:
            frame = lazy.slice(start, size).collect()
        except _damage() as error:
            if size > FINE:
                size = FINE
                continue
            unread, why = unread + size, f"not readable: {_words(error)}"
        else:
            if unread:
                yield unread, why
                unread = 0
            if len(frame) != size:
                yield total - start, f"{len(frame)} rows where the file promises {size}"
                return
            yield [_texts(column) for column in frame.iter_columns()]
        start += size
        size = FINE if start % ROWS else ROWS
    if unread:
        yield unread, why


def _damage() -> tuple[type[BaseException], ...]:
    import polars as pl

    return (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


def _words(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _texts(column: pl.Series) -> list[str]:
    import polars as pl

    kind = column.dtype
    try:
        if kind in (pl.String, pl.Categorical, pl.Enum):
            return column.cast(pl.String).fill_null("").to_list()
        if kind.is_integer():
            return column.cast(pl.String).fill_null("").to_list()
        if isinstance(kind, pl.Datetime):
            # The stored instants, whatever the zone: the machine needs no time zone database.
            texts = column.to_physical().cast(pl.Datetime(kind.time_unit)).dt.to_string("iso")
            zone = "" if kind.time_zone is None else "+00:00"
            return [text + zone if text else "" for text in texts.to_list()]
        return [cell(value) for value in column.to_list()]
    except (ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        return [CellProblem(f"{kind}: {_words(error)}")] * len(column)
