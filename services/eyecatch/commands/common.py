"""What commands share: the server option, errors as one readable line, tables and JSON. Knows no verb."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from eyecatch.core.errors import EyecatchError

if TYPE_CHECKING:
    from eyecatch.client import Client

Server = Annotated[str, typer.Option("--server", envvar="EYECATCH_SERVER", help="Address of a running server.")]
Token = Annotated[
    str, typer.Option("--api-token", envvar="EYECATCH_API_TOKEN", help="Bearer token, if the server wants one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
DataDir = Annotated[
    str, typer.Option("--data-dir", envvar="EYECATCH_DATA_DIR", help="Folder of the SQLite file and the images.")
]

DEFAULT_SERVER = "127.0.0.1:50051"
DEFAULT_DATA = "eyecatch-data"


def fail(message: str) -> NoReturn:
    """Print to standard error and exit with status 1."""
    typer.echo(message, err=True)
    raise typer.Exit(1)


def quieten_models() -> None:
    """Their loading bars would land between the lines of a command."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


@contextmanager
def readable_errors() -> Iterator[None]:
    try:
        yield
    except EyecatchError as error:
        fail(f"error: {error}")


@contextmanager
def client(server: str, token: str) -> Iterator["Client"]:
    """A connected client whose RPC errors become one readable message and exit status 1."""
    import grpc

    from eyecatch.client import connect, explain

    try:
        with connect(server, token) as connected:
            yield connected
    except grpc.RpcError as error:
        hint = f" (is a server running at {server}? start one with: eyecatch serve)"
        fail(f"error: {explain(error)}" + (hint if error.code() is grpc.StatusCode.UNAVAILABLE else ""))


def as_json(message: Any) -> dict[str, Any]:
    """A protobuf message as plain data, images left out."""
    from google.protobuf.json_format import MessageToDict

    data: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=False
    )
    data.pop("image", None)
    return data


def print_json(data: object) -> None:
    json.dump(data, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")


WIDE = 400
"""Columns of what is not a terminal: a file has no edge, so no cell is cut."""


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Text, not markup: titles and files' names are other people's words and may hold square brackets.
    table = Table(title=Text(title, style="table.title"), title_justify="left")
    for name in columns:
        table.add_column(name)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    console.print(table)
