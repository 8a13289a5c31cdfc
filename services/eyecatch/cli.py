"""The `eyecatch` command: offline work on a data folder, the server, and clients of a running server."""

import os

import typer

from eyecatch.commands import (
    behavior,
    covers,
    demo,
    design,
    evaluate,
    generate,
    imports,
    ingest,
    items,
    judge,
    product,
    segments,
    serve,
    sheets,
    upkeep,
    upscale,
)

# Read when torch loads OpenMP, later. Its threads spin while they wait by default: beside any other busy process, and beside
# the fast path, covers then take ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    help="Eyecatch: the cover image that makes each user stop and look.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
demo.register(app)
serve.register(app)
ingest.register(app)
generate.register(app)
app.add_typer(imports.app, name="import")
app.add_typer(evaluate.app, name="evaluate")
covers.register(app)
sheets.register(app)
judge.register(app)
design.register(app)
upscale.register(app)
app.add_typer(product.app, name="product")
app.add_typer(upkeep.clusters, name="clusters")
app.add_typer(segments.app, name="segments")
upkeep.register(behavior.users, items.app)
app.add_typer(items.app, name="items")
app.add_typer(behavior.events, name="events")
app.add_typer(behavior.users, name="users")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
