"""icg convert: a diffusion model of one file as a diffusers folder. Imports torch only when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icg.commands.common import quieten_models, refusals


def convert(
    file: Annotated[Path, typer.Argument(help="The model: one .safetensors file.")],
    config: Annotated[
        Path, typer.Option(help="A diffusers folder of the same architecture; its configurations alone are read.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; it must not exist.")],
) -> None:
    """Make a diffusers folder of a diffusion model that comes as one file, for `icg train connector` and `icg assemble`."""
    with refusals():
        from icg.models.single_file import convert as to_folder

        quieten_models()
        to_folder(file, config, out)
    typer.echo(f"{out}: icg check VLM {out} says whether it fits")
