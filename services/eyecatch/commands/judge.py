"""eyecatch judge: does this picture show its product reliably? Without a server."""

from pathlib import Path
from typing import Annotated

import typer

from eyecatch.commands.common import Json, fail, print_json, print_table


def judge(
    image: Annotated[Path, typer.Argument(help="The picture: PNG, JPEG or WebP.", dir_okay=False)],
    product: Annotated[Path, typer.Option(help="The product's cut-out: a PNG or WebP with alpha.", dir_okay=False)],
    caption: Annotated[str, typer.Option(help="What the product is and how large; may be empty.")] = "",
    checkpoint: Annotated[
        Path | None, typer.Option(help="Starter-shaped folder; default: the shipped starter.")
    ] = None,
    json: Json = False,
) -> None:
    """The probability that a picture shows its product as it is, and of each thing that can be wrong."""
    from icg import starter
    from icg.errors import IcgError
    from icg.pictures import decode
    from icg.reliability.judge import Judge

    try:
        seen, cut = decode(image.read_bytes(), "image"), decode(product.read_bytes(), "product", "RGBA")
        judging = Judge.from_pretrained((checkpoint or starter.path()) / "reliability")
        said = judging([seen], [cut], [caption])[0]
    except (IcgError, OSError) as error:
        fail(f"error: {error}")
    if json:
        return print_json(
            {"available": said.available, "threshold": judging.threshold, "probabilities": said.probabilities}
        )
    rows = [(name.replace("_", " "), f"{value:.3f}") for name, value in said.probabilities.items()]
    verdict = "can be shown" if said.available else "should not be shown"
    print_table(f"{image.name} {verdict} (threshold {judging.threshold:.2f})", ("class", "probability"), rows)


def register(app: typer.Typer) -> None:
    app.command("judge")(judge)
