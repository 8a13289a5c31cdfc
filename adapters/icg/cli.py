"""The `icg` command: the library without a service. Imports torch only for a command that needs it."""

from __future__ import annotations

import os

import typer

from icg.commands import assemble, check, convert, design, evaluate, judge, product, space, train, upscale
from icg.commands.group import CommandGroup

# Read when torch loads OpenMP, later. Its waiting threads spin by default: beside another busy process,
# work then takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    cls=CommandGroup,
    help="icg: personalisation between a vision-language model and a diffusion model of your own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(assemble.assemble)
app.command()(check.check)
app.command()(convert.convert)
app.command()(judge.judge)
app.command()(design.design)
app.command()(upscale.upscale)
app.add_typer(product.app, name="product")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(space.app, name="space")
app.command(**train.COMMAND)(train.train)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
