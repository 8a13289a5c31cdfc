"""icg design: how a cover of a title should look to reach a wanted engagement. Without a server."""

from pathlib import Path
from typing import Annotated

import typer

from icg.commands.common import Json, print_json, print_table, quieten_models, refusals


def design(
    title: Annotated[str, typer.Argument(help="What the cover is of.", show_default=False)],
    target: Annotated[str, typer.Option(help="The engagement wanted: low, medium or high.")] = "high",
    account: Annotated[
        str, typer.Option(help="Who publishes it, by a name the model was trained on; may be empty.")
    ] = "",
    time: Annotated[str, typer.Option(help="When, ISO 8601 with its zone; may be empty.")] = "",
    count: Annotated[int, typer.Option(help="Designs; several are sampled, one is the likeliest.", min=1, max=32)] = 1,
    best_of: Annotated[
        int | None,
        typer.Option(
            help="Sample and draw so many, and show those first whose covers the engagement model finds most fitting.",
            min=2,
            max=64,
        ),
    ] = None,
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
    from icg.data.times import seconds
    from icg.design.designer import Designer
    from icg.design.search import search
    from icg.provenance import to_png
    from icg.rewards.engagement import Engagement

    root = checkpoint or starter.path()
    quieten_models()
    torch.manual_seed(seed)
    rated, cover = [], None
    with refusals():
        brief = Brief(title, seed=seed)
        designer, at = Designer.from_pretrained(root), seconds(time, None) if time else None
        if best_of is None:
            found = designer.model.write(title, target, account, at, count, 0.0 if count == 1 else 1.0)
        else:
            reward = Engagement.from_pretrained(root / "engagement").of("", at)
            pipeline = starter.load(checkpoint).pipeline
            fitting = search(designer, pipeline, reward, brief, target, best_of, account, at)[:count]
            found, cover = [one.design for one in fitting], fitting[0].cover
            rated = [round(one.engagement, 4) for one in fitting]
        if out is not None:
            towards = designer.apply(brief, found[0])
            told = {"model": checkpoint.name if checkpoint else starter.Starter.name, "design": found[0].to_json()}
            told |= {"seed": seed, "steps": brief.steps, "brief_digest": towards.digest()}
            out.write_bytes(to_png(cover or starter.load(checkpoint).pipeline([towards])[0], told))
    if json:
        return print_json({"designs": [one.shown() for one in found]} | ({"engagement": rated} if rated else {}))
    rows = [
        [
            ", ".join(f"{name} {10 * share} %" for name, share in one.colours), " ".join(one.tones), f"{one.size}, {one.place}",
            one.style, ", ".join(one.objects), ", ".join(one.avoid) or "-",
        ]
        for one in found
    ]  # fmt: skip
    columns = ["colours", "tones", "composition", "style", "objects", "avoid"]
    if rated:
        columns.append("engagement")
        rows = [[*row, f"{value:.3f}"] for row, value in zip(rows, rated, strict=True)]
    print_table(f"{title}, for {target} engagement", columns, rows)
