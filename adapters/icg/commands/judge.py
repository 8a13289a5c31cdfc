"""icg judge: whether a picture shows its product reliably. Without a server."""

from pathlib import Path
from typing import Annotated

import typer

from icg.commands.common import Checkpoint, Json, print_json, print_table, refusals


def judge(
    image: Annotated[Path, typer.Argument(help="The picture: PNG, JPEG or WebP.", dir_okay=False)],
    product: Annotated[Path, typer.Option(help="The product's cut-out: a PNG or WebP with alpha.", dir_okay=False)],
    caption: Annotated[str, typer.Option(help="What the product is and its size; may be empty.")] = "",
    checkpoint: Checkpoint = None,
    json: Json = False,
) -> None:
    """The probability that a picture shows its product correctly, and of each defect."""
    from icg import starter
    from icg.pictures import decode
    from icg.reliability.judge import Judge

    with refusals():
        picture, cut_out = decode(image.read_bytes(), "image"), decode(product.read_bytes(), "product", "RGBA")
        model = Judge.from_pretrained((checkpoint or starter.path()) / "reliability")
        result = model([picture], [cut_out], [caption])[0]
    if json:
        return print_json(
            {"available": result.available, "threshold": model.threshold, "probabilities": result.probabilities}
        )
    rows = [(name.replace("_", " "), f"{value:.3f}") for name, value in result.probabilities.items()]
    verdict = "can be shown" if result.available else "should not be shown"
    print_table(f"{image.name} {verdict} (threshold {model.threshold:.2f})", ("class", "probability"), rows)
