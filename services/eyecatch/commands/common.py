"""Shared parts of the commands: the server option, the printing of answers, errors as one line. Knows no operation."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from icg.commands.common import Json, fail, print_json, print_table, quieten_models

from eyecatch.config import Config
from eyecatch.core.errors import EyecatchError
from eyecatch.settings import PREFIX, Settings, resolved

if TYPE_CHECKING:
    from eyecatch.client import Client
    from eyecatch.core.ports import Stores
    from eyecatch.shards import Runner

Server = Annotated[str, typer.Option("--server", envvar="EYECATCH_SERVER", help="Address of a running server.")]
Token = Annotated[
    str, typer.Option("--api-token", envvar="EYECATCH_API_TOKEN", help="Bearer token, if the server requires one.")
]
TlsCa = Annotated[
    str,
    typer.Option(
        "--tls-ca",
        envvar="EYECATCH_TLS_CA",
        help="PEM file of the authority of the server's certificate, or system; empty = no TLS.",
    ),
]
TlsClientCert = Annotated[
    str,
    typer.Option(
        "--tls-client-cert", envvar="EYECATCH_TLS_CLIENT_CERT", help="PEM file of a certificate of this client's own."
    ),
]
TlsClientKey = Annotated[
    str, typer.Option("--tls-client-key", envvar="EYECATCH_TLS_CLIENT_KEY", help="PEM file of its key.")
]
DataDir = Annotated[
    str, typer.Option("--data-dir", envvar="EYECATCH_DATA_DIR", help="Folder of the SQLite file and the images.")
]
PageSize = Annotated[int, typer.Option(help="Rows of a page.")]
PageToken = Annotated[str, typer.Option(help="Token of the next page, from the last page.")]

Ray = Annotated[
    str,
    typer.Option(
        "--ray",
        help="Run shards on a Ray cluster: local (this machine), auto, host:port or ray://host:port; empty = in this process (extra: ray).",
    ),
]

__all__ = ["Json", "fail", "print_json", "print_table", "quieten_models"]

DEFAULT_SERVER = "127.0.0.1:50051"
DEFAULT_DATA = "eyecatch-data"
T = TypeVar("T")
S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Answer:
    """The result of a command: `data` for --json, else a table with a title, or without `columns` the title alone."""

    data: object
    title: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()

    def print(self, json: bool) -> None:
        if json:
            print_json(self.data)
        elif self.columns:
            print_table(self.title, self.columns, self.rows)
        else:
            typer.echo(self.title)


def next_page(response: Any) -> str:
    """The end of a title that names the next page, if there is one."""
    return f"; next page: {response.next_page_token}" if response.next_page_token else ""


@contextmanager
def readable_errors() -> Iterator[None]:
    try:
        yield
    except EyecatchError as error:
        fail(f"error: {error}")


@contextmanager
def _logged_errors(log: Any) -> Iterator[None]:
    try:
        yield
    except EyecatchError as error:
        log.error("failed", why=str(error))
        raise typer.Exit(1) from None


@contextmanager
def client(server: str, api_token: str, tls_ca: str, tls_client_cert: str, tls_client_key: str) -> Iterator["Client"]:
    """A connected client; "" for what is not needed. RPC errors end the command with one readable message and exit status 1."""
    import grpc

    from eyecatch.client import connect, explain, is_unreachable
    from eyecatch.tls import Tls

    try:
        with (
            readable_errors(),
            connect(server, api_token, Tls.of(tls_ca, tls_client_cert, tls_client_key)) as connected,
        ):
            yield connected
    except grpc.RpcError as error:
        hint = f" (is a server running at {server}? start one with: eyecatch serve; is TLS the same on both sides? see --tls-ca)"
        fail(f"error: {explain(error)}" + (hint if is_unreachable(error) else ""))


def as_json(message: Any) -> dict[str, Any]:
    """A protobuf message as plain data, without its image."""
    from google.protobuf.json_format import MessageToDict

    data: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=False
    )
    data.pop("image", None)
    return data


@contextmanager
def shard_runner(ray: str, gpu: bool = False) -> "Iterator[Runner]":
    """In this process, or on the Ray cluster of --ray; with `gpu` a shard takes a GPU where there is one."""
    from eyecatch.shards import OnRay, here

    if not ray:
        yield here
        return
    with OnRay(ray, gpu=gpu) as cluster:
        yield cluster


def existing(data_dir: str) -> Config:
    """The configuration of a data folder that exists. Ends the command if it does not, and creates none."""
    config = resolved(Config, {"data_dir": data_dir})
    if not config.store and not config.folder.is_dir():
        allowed = "a data folder; `eyecatch import items` and `eyecatch serve` make one"
        fail(f"error: --data-dir {data_dir}: there is no such folder; allowed: {allowed}")
    return config


def run_on_stores(
    data_dir: str,
    work: "Callable[[Config, Stores], Awaitable[T]]",
    any_space: bool = False,
    read_only: bool = False,
) -> T:
    """The result of `work` on the stores of a data folder that exists, opened as by `open_stores`."""
    from eyecatch.wiring.stores import open_stores

    async def run() -> T:
        config = existing(data_dir)
        async with open_stores(config, any_space, read_only) as stores:
            return await work(config, stores)

    with readable_errors():
        return asyncio.run(run())


def run_process(
    kind: type[S],
    flags: dict[str, Any],
    run: Callable[[S, Callable[[int], None]], Awaitable[None]],
    ready: Callable[[S, int], str],
) -> None:
    """Run a process until it is stopped: print what is not default in its configuration, and `ready` when it answers on a port.

    With JSON logs these are lines of the log, and so is the error that ends it.
    """
    import sys

    import structlog
    import uvloop

    from eyecatch.observe.logs import configure
    from eyecatch.wiring.process import share_memory

    share_memory()
    # Before the settings are read, whose errors are lines of the log too.
    log_format = flags.get("log_format") or os.environ.get(f"{PREFIX}LOG_FORMAT", "")
    configure(log_format)
    log = structlog.get_logger(__name__)
    with _logged_errors(log) if log_format == "json" else readable_errors():
        config = resolved(kind, flags)
        is_json = config.log_format == "json"  # type: ignore[attr-defined]
        before, after = kind().redacted(), config.redacted()
        changed = {name: value for name, value in after.items() if value != before[name]}
        if is_json:
            log.info("settings", **changed)
        else:
            for name, value in changed.items():
                typer.echo(f"  {name:22} {value}", err=True)
            typer.echo(f"  {len(after) - len(changed)} settings have their defaults (--help lists them)", err=True)

        def on_ready(port: int) -> None:
            if is_json:
                log.info("ready", port=port)
                return
            typer.echo(ready(config, port))
            sys.stdout.flush()

        uvloop.run(run(config, on_ready))  # type: ignore[arg-type]
