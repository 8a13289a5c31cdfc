"""icg train: a recipe by name, with its own flags. Without a name it lists them."""

from typing import Annotated, Any

import typer

from icg.commands.common import print_table, refusals

COMMAND: dict[str, Any] = {
    "add_help_option": False,  # --help after a name is the recipe's
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
}


def train(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The recipe, followed by its own flags: icg train NAME --help.")] = "",
) -> None:
    """Train a part of the library. Without a name: list the recipes, what each needs and how long it takes."""
    from icg.train.recipes import NOTE, RECIPES, run

    arguments = list(context.args)
    if name.startswith("-"):
        name, arguments = "", [name, *arguments]
    if not name:
        rows = [(key, recipe.trains, recipe.needs, recipe.takes) for key, recipe in RECIPES.items()]
        print_table("recipes of icg train NAME", ("name", "trains", "needs", "takes"), rows)
        typer.echo(f"{NOTE}\nicg train NAME --help shows a recipe's own flags")
        return
    with refusals():
        run(name, arguments)
