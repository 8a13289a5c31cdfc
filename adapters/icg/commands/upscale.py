"""icg upscale: a larger picture from a small one, by a Swin2SR checkpoint. Without a server."""

from pathlib import Path
from typing import Annotated

import typer

from icg.commands.common import fail


def upscale(
    image: Annotated[Path, typer.Argument(help="The picture: PNG, JPEG or WebP, opaque.", dir_okay=False)],
    out: Annotated[Path, typer.Option(help="File of the larger one: .png, .jpg or .webp.", dir_okay=False)],
    factor: Annotated[int | None, typer.Option(help="Factor of the edges; default: the checkpoint's own.")] = None,
    checkpoint: Annotated[
        str, typer.Option(help="Swin2SR folder, or a name on the hub; default: the shipped starter's.")
    ] = "",
) -> None:
    """Enlarge a picture; a PNG keeps the provenance of a cover."""
    from transformers.utils import logging

    from icg import starter
    from icg.models.upscale import SHIPPED, Upscaler, name_of
    from icg.pictures import decode
    from icg.provenance import read, to_png

    kinds = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    if out.suffix.lower() not in kinds:
        fail(f"error: out={out.name!r}; allowed: a file ending in {', '.join(kinds)}")
    logging.disable_progress_bar()
    try:
        data = image.read_bytes()
        small = decode(data, "image", "RGBA")
        upscaler = Upscaler.from_pretrained(checkpoint or starter.path() / "upscaler", factor)
        (large,) = upscaler([small])
        provenance = read(data)
        if provenance and isinstance(provenance, dict) and out.suffix.lower() == ".png":
            source = Path(checkpoint) if Path(checkpoint).exists() else checkpoint
            upscaled = f"{upscaler.factor}x by {name_of(source) if checkpoint else SHIPPED}"
            out.write_bytes(to_png(large, {**provenance, "upscaled": upscaled}, optimize=False))
        else:
            large.save(out, kinds[out.suffix.lower()], quality=95)
    except (ValueError, OSError) as error:  # icg's errors, and a text in the picture that is not JSON
        fail(f"error: {error}")
    typer.echo(f"{out}: {small.width}x{small.height} -> {large.width}x{large.height}")
