"""A configuration dataclass as the flags of a command: the signature is built, not written again."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any

import typer

from eyecatch.settings import PREFIX, Settings


def configured(kind: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give the command one optional flag for each field of `kind`, after its own; they arrive as `**flags`, None where not set."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
        keyword = [p.replace(kind=p.KEYWORD_ONLY) for p in own] + [_parameter(f) for f in fields(kind)]
        command.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in keyword}
        return command

    return decorate


def _parameter(f: Any) -> inspect.Parameter:
    kind = type(f.default)
    flag = "--" + f.name.replace("_", "-")
    names = [f"{flag}/--no-{flag[2:]}"] if kind is bool else [flag]
    help = f"{f.metadata['help']} [{PREFIX}{f.name.upper()}; default: {f.default if f.default != '' else 'empty'}]"
    option = typer.Option(*names, help=help, show_default=False, rich_help_panel=f.metadata["panel"] or None)
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
