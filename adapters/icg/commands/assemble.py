"""icg assemble: a checkpoint folder from its parts. Imports torch only when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icg.commands.common import Json, fail, print_json, print_table, refusals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from icg.assemble import Piece

Part = typer.Option(help="Folder of this part; absent: what the checkpoint has.")


def assemble(
    folder: Annotated[Path, typer.Argument(help="The checkpoint folder: new, or one to add parts to.")],
    vlm: Annotated[Path | None, Part] = None,
    diffusion: Annotated[Path | None, Part] = None,
    adapter: Annotated[Path | None, Part] = None,
    space: Annotated[Path | None, Part] = None,
    users: Annotated[Path | None, Part] = None,
    grounds: Annotated[Path | None, Part] = None,
    controlnet: Annotated[Path | None, Part] = None,
    reliability: Annotated[Path | None, Part] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            help="Tables and pictures that the adapter was trained on: what it draws well is measured on them."
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="Size of its covers, WIDTHxHEIGHT; further ones behind commas.")] = "",
    steps: Annotated[int | None, typer.Option(help="Denoising steps.", min=1, max=100)] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow item and user.", min=0, max=20)] = None,
    negative: Annotated[str | None, typer.Option(help="Words of what to move away from.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Precision: float32, float16 or bfloat16.")] = None,
    ground_steps: Annotated[
        int | None, typer.Option(help="Denoising steps of covers around an item's own picture.", min=0, max=100)
    ] = None,
    sharpen: Annotated[
        float | None, typer.Option(help="How much edges of grounds are sharpened.", min=0, max=2)
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the parts instead of linking them.")] = False,
    json: Json = False,
) -> None:
    """Put a checkpoint together for `eyecatch serve --checkpoint`, check it, and name what is missing and the command that makes it.

    Run again, it adds or replaces the parts that are named. Nothing is written if they do not fit.
    """
    from icg.assemble import assemble as put_together
    from icg.settings import DrawingSettings

    named = {"vlm": vlm, "diffusion": diffusion, "adapter": adapter, "space": space, "users": users}
    named |= {"grounds": grounds, "controlnet": controlnet, "reliability": reliability}
    with refusals():
        values = {"steps": steps, "guidance": guidance, "negative": negative, "dtype": dtype}
        values |= {"ground_steps": ground_steps, "sharpen": sharpen}
        if size:
            first, *others = map(_pixels, size.split(","))
            values |= {"size": first, "sizes": tuple(others)}
        settings = DrawingSettings.read(folder).changed({k: v for k, v in values.items() if v is not None})
        parts = {name: path for name, path in named.items() if path is not None}
        _, pieces = put_together(folder, parts, settings, _pictures(catalogue) if catalogue else (), copy)
    show(folder, pieces, json)


def show(folder: Path, pieces: Sequence[Piece], json: bool = False) -> None:
    """Print the parts of a checkpoint."""
    if json:
        return print_json({piece.name: piece.present for piece in pieces})
    rows = [(p.name, "yes" if p.present else "no", p.without, "" if p.present else p.command) for p in pieces]
    print_table(str(folder), ("part", "there", "without it", "made by"), rows)
    typer.echo(f"Serve it: eyecatch serve --checkpoint {folder}")


def _pixels(text: str) -> tuple[int, int]:
    width, _, height = text.strip().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        fail(f"error: size={text!r}; allowed: WIDTHxHEIGHT, such as 512x512, several separated by commas")
    return int(width), int(height)


def _pictures(folder: Path) -> list[Image.Image]:
    from icg.data.catalogue import Catalogue, RowReport
    from icg.pictures import decode

    most = 2_000  # more do not move the domain
    examples = list(Catalogue.open(folder).examples(RowReport()))
    return [decode(e.path.read_bytes(), e.cover) for e in examples[:: max(1, len(examples) // most)]]
