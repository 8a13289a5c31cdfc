"""Shared by commands: errors as one readable line, tables and JSON. Knows no verb."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from icg.errors import IcgError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Folder of the starter's layout; default: the shipped starter.")]
Art = Annotated[Path, typer.Option(help="A node_modules folder with the emoji packages of the starter's recipe.")]

WIDE = 400
"""Columns of an output that is not a terminal, so that no cell is cut."""


def fail(message: str) -> NoReturn:
    """Print to standard error and exit with status 1."""
    typer.echo(message, err=True)
    raise typer.Exit(1)


@contextmanager
def refusals() -> Iterator[None]:
    """Print the library's errors, and those of unreadable files, as one line, with exit status 1."""
    try:
        yield
    except ModuleNotFoundError as error:
        fail(f"error: this needs {error.name}: pip install 'eyecatch[train]'")
    except (IcgError, OSError) as error:
        fail(f"error: {' '.join(str(error).split())}")  # messages of other libraries may have several lines


def quieten_models() -> None:
    """Hide loading bars, which would appear between a command's lines."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def print_json(data: object) -> None:
    """Print one line on standard output."""
    json.dump(data, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with cells as text, not markup: titles and file names may contain square brackets."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, style="table.title"), title_justify="left")
    for name in columns:
        table.add_column(name)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    console.print(table)
