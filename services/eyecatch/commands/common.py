"""What commands share: the server option, errors as one readable line, tables and JSON. Knows no verb."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from icg.commands.common import Json, fail, print_json, print_table, quieten_models

from eyecatch.core.errors import EyecatchError

if TYPE_CHECKING:
    from eyecatch.client import Client

Server = Annotated[str, typer.Option("--server", envvar="EYECATCH_SERVER", help="Address of a running server.")]
Token = Annotated[
    str, typer.Option("--api-token", envvar="EYECATCH_API_TOKEN", help="Bearer token, if the server wants one.")
]
DataDir = Annotated[
    str, typer.Option("--data-dir", envvar="EYECATCH_DATA_DIR", help="Folder of the SQLite file and the images.")
]

__all__ = ["Json", "fail", "print_json", "print_table", "quieten_models"]

DEFAULT_SERVER = "127.0.0.1:50051"
DEFAULT_DATA = "eyecatch-data"


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
