"""icg space fit: a cover space of one's own, fitted on a catalogue and measured on its users."""

from pathlib import Path
from typing import Annotated

import typer

from icg.commands.common import Checkpoint, print_json, print_table, refusals

app = typer.Typer(help="A cover space fitted on one's own catalogue.", no_args_is_help=True)


@app.command("fit")
def fit(
    data: Annotated[
        Path, typer.Option(help="Folder with a table of items, pictures, and a table of events or ratings.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write: new, empty, or of an earlier fit.")],
    encoder: Annotated[
        Path | None,
        typer.Option(help="Transformers folder with a vision tower (CLIP, SigLIP, DINO); default: the shipped trunk."),
    ] = None,
    relevance: Annotated[
        Path | None,
        typer.Option(help="CLIP or SigLIP folder that compares covers with titles; default: the checkpoint's."),
    ] = None,
    checkpoint: Checkpoint = None,
    seeds: Annotated[int, typer.Option(help="Rounds with other users and covers held out.", min=1, max=20)] = 3,
    covers: Annotated[int, typer.Option(help="Covers at most, drawn at random.", min=128, max=200_000)] = 20_000,
) -> None:
    """Fit the map from covers to the 64 numbers in which covers and users meet, and measure whether it knows users.

    Writes the projection, the scale of each reward on these covers, the domain of the catalogue and a report. The last line is JSON.
    """
    from icg.space.folder import last_line
    from icg.space.run import run

    with refusals():
        fitted, rows = run(
            data, out, encoder, relevance, checkpoint, seeds, covers, lambda text: typer.echo(text, err=True)
        )
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in fitted.counts.items())
    print_table(f"{counts}; {fitted.choice}", ("figure", "value", "control"), rows)
    if fitted.warning:
        typer.secho(f"\n!!! {fitted.warning} !!!\n", bold=True)
    print_json(last_line(fitted))


@app.command("domain")
def domain(
    pictures: Annotated[Path, typer.Argument(help="A picture, or a folder of pictures with its subfolders.")],
    space: Annotated[
        Path | None, typer.Option(help="Folder of `icg space fit`; default: the shipped space, fitted on drawn covers.")
    ] = None,
) -> None:
    """Whether pictures lie in the domain of a space: within the distance of 99 % of the covers it was fitted on. The last line is JSON."""
    from icg.checkpoints import SHIPPED, SPACE
    from icg.models.space import FittedSpace
    from icg.space.domain import distances

    with refusals():
        model = FittedSpace.from_pretrained(space or SHIPPED / SPACE, SHIPPED / "dual")
        rows, refused = distances(model, pictures)
    radius = model.projection.radius
    table = [(name, f"{value:.3f}", "inside" if value <= radius else "outside") for name, value in rows[:20]]
    print_table(
        f"{len(rows)} pictures, radius {radius:.3f}, {refused} cannot be decoded", ("picture", "distance", ""), table
    )
    inside = sum(value <= radius for _, value in rows) / len(rows)
    print_json({"inside": round(inside, 4), "pictures": len(rows), "refused": refused, "radius": round(radius, 4)})
