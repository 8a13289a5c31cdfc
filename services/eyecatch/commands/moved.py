"""Former commands of `eyecatch` that are commands of `icg` now: each prints its new form and exits with status 2."""

import typer

VERBS = ("judge", "design", "upscale", "product")
EVALUATIONS = ("personalisation", "reliability", "design")
ANY = {"allow_extra_args": True, "ignore_unknown_options": True}


def moved(context: typer.Context) -> None:
    """Moved to `icg`."""
    words = context.command_path.removeprefix(context.find_root().command_path).split()
    typer.echo(f"moved: icg {' '.join([*words, *context.args])}", err=True)
    raise typer.Exit(2)


def register(app: typer.Typer, evaluate: typer.Typer) -> None:
    """Hidden, so that neither --help nor the documentation lists them."""
    for group, names in ((app, VERBS), (evaluate, EVALUATIONS)):
        for name in names:
            group.command(name, hidden=True, add_help_option=False, context_settings=ANY)(moved)
