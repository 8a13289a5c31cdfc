"""The `eyecatch` command: offline work on a data folder, the server, and clients of a running server."""

import os
from typing import Annotated

import typer
from icg.commands.group import CommandGroup

from eyecatch import __version__
from eyecatch.commands import (
    behavior,
    bulk,
    covers,
    demo,
    embeddings,
    evaluate,
    export,
    generate,
    imports,
    ingest,
    items,
    moved,
    review,
    segments,
    serve,
    sheets,
    upkeep,
)

# torch's OpenMP reads it later. By default its threads spin while they wait, and then covers take ten times
# as long beside the fast path or another busy process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# gRPC's own lines would stand between ours, also among JSON; what they tell reaches us as errors.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def _print_version(asked_for: bool) -> None:
    if asked_for:
        typer.echo(f"eyecatch {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=CommandGroup,
    help="Eyecatch: the cover image that makes each user stop and look.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
SERVE, DATA, LOOK, OPERATE = "Serve", "Data", "Look", "Operate"
upkeep.register(behavior.users, items.app)
bulk.register(upkeep.clusters)
for command in (serve.serve, generate.generate, demo.demo):
    app.command(rich_help_panel=SERVE)(command)
app.add_typer(ingest.app, name="ingest", rich_help_panel=SERVE)
for name, group in (
    ("import", imports.app),
    ("export", export.app),
    ("items", items.app),
    ("events", behavior.events),
    ("users", behavior.users),
):
    app.add_typer(group, name=name, rich_help_panel=DATA)
for command in (covers.recommend, covers.rank, covers.draw, covers.covers, sheets.contact_sheet):
    app.command(rich_help_panel=LOOK)(command)
for name, group in (
    ("clusters", upkeep.clusters),
    ("embeddings", embeddings.app),
    ("segments", segments.app),
    ("review", review.app),
    ("dlq", ingest.dlq),
    ("evaluate", evaluate.app),
):
    app.add_typer(group, name=name, rich_help_panel=OPERATE)
moved.register(app, evaluate.app)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Print the version and exit.", callback=_print_version)
    ] = False,
) -> None:
    """Eyecatch: the cover image that makes each user stop and look."""


def main() -> None:
    app()


if __name__ == "__main__":
    main()
