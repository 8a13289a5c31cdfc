"""eyecatch serve: one flag for each field of the configuration."""

import inspect
from dataclasses import fields
from typing import Annotated, Any

import typer

from eyecatch.commands.common import readable_errors
from eyecatch.config import PREFIX, Config, resolve


def serve(**flags: Any) -> None:
    """Serve covers, by default from one process, one SQLite file and one folder of images."""
    import sys

    import uvloop

    from eyecatch.logs import configure
    from eyecatch.wiring import serve as run

    with readable_errors():
        config = resolve(flags)
        configure(config.log_format)
        for name, value in config.shown().items():
            typer.echo(f"  {name:22} {value}", err=True)

        def ready(port: int) -> None:
            typer.echo(f"eyecatch ready on {config.host}:{port}")
            sys.stdout.flush()

        uvloop.run(run(config, ready))


def _parameter(f: Any) -> inspect.Parameter:
    kind = type(f.default)
    flag = "--" + f.name.replace("_", "-")
    names = [f"{flag}/--no-{flag[2:]}"] if kind is bool else [flag]
    help = f"{f.metadata['help']} [{PREFIX}{f.name.upper()}; default: {f.default if f.default != '' else 'empty'}]"
    annotation = Annotated[kind | None, typer.Option(*names, help=help, show_default=False)]  # type: ignore[valid-type]
    return inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


# One dataclass gives flags, environment variables and their documentation: the signature is built, not written again.
serve.__signature__ = inspect.Signature([_parameter(f) for f in fields(Config)])  # type: ignore[attr-defined]
serve.__annotations__ = {f.name: _parameter(f).annotation for f in fields(Config)}


def register(app: typer.Typer) -> None:
    app.command()(serve)
