"""icg design: how a cover of a title should look for a target engagement. Without a server."""

from pathlib import Path
from typing import Annotated

import typer

from icg.commands.common import Json, print_json, print_table, quieten_models, refusals


def design(
    title: Annotated[str, typer.Argument(help="The subject of the cover.", show_default=False)],
    target: Annotated[str, typer.Option(help="The target engagement: low, medium or high.")] = "high",
    account: Annotated[
        str, typer.Option(help="The publishing account, one that the model was trained on; may be empty.")
    ] = "",
    time: Annotated[str, typer.Option(help="Time of publishing, ISO 8601 with its zone; may be empty.")] = "",
    count: Annotated[int, typer.Option(help="Designs; several are sampled, one is the likeliest.", min=1, max=32)] = 1,
    best_of: Annotated[
        int | None,
        typer.Option(
            help="Sample and draw so many, and sort them by the engagement model's rating of their covers.",
            min=2,
            max=64,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Picture file: also draw the first design.", dir_okay=False)] = None,
    seed: Annotated[int, typer.Option(help="Seed of samples and of the picture.", min=0)] = 0,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder of the starter's layout with design/; default: the shipped starter.")
    ] = None,
    json: Json = False,
) -> None:
    """Colours, tones, composition and style for a title, by a model that was trained on designs and their engagement."""
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
        designer, moment = Designer.from_pretrained(root), seconds(time, None) if time else None
        if best_of is None:
            designs = designer.model.write(title, target, account, moment, count, 0.0 if count == 1 else 1.0)
        else:
            reward = Engagement.from_pretrained(root / "engagement").of("", moment)
            pipeline = starter.load(checkpoint).pipeline
            best = search(designer, pipeline, reward, brief, target, best_of, account, moment)[:count]
            designs, cover = [result.design for result in best], best[0].cover
            rated = [round(result.engagement, 4) for result in best]
        if out is not None:
            designed = designer.apply(brief, designs[0])
            origin = {"model": checkpoint.name if checkpoint else starter.Starter.name, "design": designs[0].to_json()}
            origin |= {"seed": seed, "steps": brief.steps, "brief_digest": designed.digest()}
            out.write_bytes(to_png(cover or starter.load(checkpoint).pipeline([designed])[0], origin))
    if json:
        return print_json({"designs": [d.to_display() for d in designs]} | ({"engagement": rated} if rated else {}))
    columns = ["colours", "tones", "composition", "style", "objects", "avoid", *(["engagement"] if rated else [])]
    rows = []
    for n, d in enumerate(designs):
        colours = ", ".join(f"{name} {10 * share} %" for name, share in d.colours)
        row = [
            colours,
            " ".join(d.tones),
            f"{d.size}, {d.place}",
            d.style,
            ", ".join(d.objects),
            ", ".join(d.avoid) or "-",
        ]
        rows.append([*row, f"{rated[n]:.3f}"] if rated else row)
    print_table(f"{title}, for {target} engagement", columns, rows)
