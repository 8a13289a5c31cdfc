"""Tables as files. Knows no table's columns."""

import os
from pathlib import Path

import polars as pl


def write(table: pl.DataFrame, path: Path) -> None:
    """Write a Parquet file, whole or not at all."""
    waiting = path.with_suffix(f".{os.getpid()}.part")
    table.write_parquet(waiting)
    waiting.replace(path)
