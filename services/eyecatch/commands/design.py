"""eyecatch design: how a cover of a title should look to reach a wanted engagement. Without a server."""

from pathlib import Path
from typing import Annotated

import typer

from eyecatch.commands.common import Json, fail, print_json, print_table, quieten_models


def design(
    title: Annotated[str, typer.Argument(help="What the cover is of.", show_default=False)],
    target: Annotated[str, typer.Option(help="The engagement wanted: low, medium or high.")] = "high",
    account: Annotated[
        str, typer.Option(help="Who publishes it, by a name the model was trained on; may be empty.")
    ] = "",
    time: Annotated[str, typer.Option(help="When, ISO 8601 with its zone; may be empty.")] = "",
    count: Annotated[int, typer.Option(help="Designs; several are sampled, one is the likeliest.", min=1, max=32)] = 1,
    out: Annotated[Path | None, typer.Option(help="Picture file: also draw the first design.", dir_okay=False)] = None,
    seed: Annotated[int, typer.Option(help="Seed of samples and of the picture.", min=0)] = 0,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Starter-shaped folder with design/; default: the shipped starter.")
    ] = None,
    json: Json = False,
) -> None:
    """Colours, tones, composition and style for a title, written by a model that saw designs and the engagement they got."""
    import torch
    from icg import starter
    from icg.brief import Brief
    from icg.data.engagement import seconds
    from icg.design.designer import Designer
    from icg.errors import IcgError

    from eyecatch.generators.provenance import to_png

    root = checkpoint or starter.path()
    quieten_models()
    torch.manual_seed(seed)
    try:
        designer = Designer.from_pretrained(root)
        found = designer.model.write(
            title, target, account, seconds("time", time) if time else None, count, 0.0 if count == 1 else 1.0
        )
        if out is not None:
            drawn = starter.load(checkpoint)
            brief = designer.apply(Brief(title, seed=seed), found[0])
            told = {"model": drawn.name, "design": found[0].to_json(), "seed": seed, "steps": brief.steps}
            out.write_bytes(to_png(drawn.pipeline([brief])[0], {**told, "brief_digest": brief.digest()}))
    except (IcgError, OSError) as error:
        fail(f"error: {error}")
    if json:
        return print_json({"designs": [one.shown() for one in found]})
    rows = [
        (
            ", ".join(f"{name} {10 * share} %" for name, share in one.colours), " ".join(one.tones), f"{one.size}, {one.place}",
            one.style, ", ".join(one.objects), ", ".join(one.avoid) or "-",
        )
        for one in found
    ]  # fmt: skip
    print_table(
        f"{title}, for {target} engagement", ("colours", "tones", "composition", "style", "objects", "avoid"), rows
    )


def register(app: typer.Typer) -> None:
    app.command("design")(design)
