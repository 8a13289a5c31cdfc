"""Decorators that add flags to a command: those of a configuration, or those of a client of a server."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Annotated, Any

import typer

from eyecatch.commands.common import (
    DEFAULT_SERVER,
    Answer,
    Json,
    Server,
    TlsCa,
    TlsClientCert,
    TlsClientKey,
    Token,
    client,
)
from eyecatch.settings import PREFIX, Settings

Command = Callable[..., None]

CLIENT = {
    "server": (Server, DEFAULT_SERVER),
    "api_token": (Token, ""),
    "tls_ca": (TlsCa, ""),
    "tls_client_cert": (TlsClientCert, ""),
    "tls_client_key": (TlsClientKey, ""),
}
"""The flags of a client, with their defaults."""


def configured(kind: type[Settings]) -> Callable[[Command], Command]:
    """Add an optional flag for each field of `kind`. The command gets them as `**flags`, None if they are not set."""

    def decorate(command: Command) -> Command:
        return with_flags(command, command, [_parameter(f) for f in fields(kind)])

    return decorate


def remote(command: Callable[..., Answer]) -> Command:
    """Add the flags of a client. The command gets a connected Client first; its answer is printed as text or as JSON."""

    def run(*, json: bool, **arguments: Any) -> None:
        with client(**{name: arguments.pop(name) for name in CLIENT}) as connected:
            answer = command(connected, **arguments)
        answer.print(json)

    flags = [keyword(name, *flag) for name, flag in CLIENT.items()]
    return with_flags(run, command, [*flags, keyword("json", Json, False)], skip=1)


def keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def with_flags(run: Command, command: Callable[..., Any], flags: Sequence[inspect.Parameter], skip: int = 0) -> Command:
    """`run` with the name, the help and the parameters of `command`, without its first `skip` ones, and with `flags` after them."""
    parameters = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD][skip:]
    merged = [*(p.replace(kind=p.KEYWORD_ONLY) for p in parameters), *flags]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(merged)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in merged}
    return run


def _parameter(f: Any) -> inspect.Parameter:
    kind = type(f.default)
    flag = "--" + f.name.replace("_", "-")
    names = [f"{flag}/--no-{flag[2:]}"] if kind is bool else [flag]
    help = f"{f.metadata['help']} [{PREFIX}{f.name.upper()}; default: {f.default if f.default != '' else 'empty'}]"
    option = typer.Option(*names, help=help, show_default=False, rich_help_panel=f.metadata["panel"] or None)
    return keyword(f.name, Annotated[kind | None, option], None)
