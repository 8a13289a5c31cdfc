"""icg check: whether checkpoints fit together, and their sizes. Imports torch only when it runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icg.commands.assemble import show
from icg.commands.common import Json, print_json, refusals
from icg.errors import BriefError, IcgError

if TYPE_CHECKING:
    from icg.check import CheckReport


def check(
    vlm: Annotated[
        Path,
        typer.Argument(help="Folder of a transformers checkpoint that reads pictures and text; or a whole checkpoint."),
    ],
    diffusion: Annotated[
        Path | None, typer.Argument(help="Folder of a diffusers pipeline; absent for a whole checkpoint.")
    ] = None,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="Folder of a trained adapter.")] = None,
    tokens: Annotated[int, typer.Option("--tokens", help="Meta tokens of an adapter to train.")] = 77,
    layers: Annotated[int, typer.Option("--layers", help="Layers of its connector.")] = 2,
    size: Annotated[str, typer.Option("--size", help="Cover to draw, WIDTHxHEIGHT in pixels.")] = "512x512",
    json: Json = False,
) -> None:
    """Check whether checkpoints fit together, and print their sizes. Reads configs and headers only; exit status 1 if they do not fit."""
    from icg.assemble import Piece, judged
    from icg.check import check as report_of

    pieces = list[Piece]()
    with refusals():
        try:
            if diffusion is None:
                report, pieces = judged(vlm)
            else:
                report = report_of(vlm, diffusion, adapter, tokens, layers, _pixels(size))
        except IcgError as error:
            if not json:
                raise
            print_json({"fits": False, "error": " ".join(str(error).split())})
            raise typer.Exit(1) from error
    if json:
        return print_json(_plain(report) | {"missing": [piece.name for piece in pieces if not piece.present]})
    _print(report)
    if pieces:
        show(vlm, pieces)


def _pixels(size: str) -> tuple[int, int]:
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise BriefError(f"size={size!r}; allowed: WIDTHxHEIGHT, such as 512x512")
    return int(width), int(height)


def _plain(report: CheckReport) -> dict[str, Any]:
    parts = [{**asdict(part), "fp32_bytes": part.fp32, "bf16_bytes": part.bf16} for part in report.parts]
    return {"fits": True, **asdict(report), "parts": parts}


def _print(report: CheckReport) -> None:
    from rich.console import Console
    from rich.table import Table

    pooled = f", pooled {report.pooled}" if report.pooled else ""
    width, height = report.size
    facts = {
        "reads": f"{report.reads}, {report.hidden} wide",
        "draws": f"{report.family} ({report.draws})",
        "adapter": f"{report.tokens} meta tokens, {report.layers} layers",
        "conditioning": f"{report.tokens} × {report.width}{pooled}",
        "covers": f"edges in multiples of {report.multiple}",
        "latent": f"{' × '.join(map(str, report.latent))} for {width} × {height} pixels",
    }
    console, list_, table = Console(), Table.grid(padding=(0, 2)), Table()
    for name, fact in facts.items():
        list_.add_row(name, fact)
    console.print(list_)
    for column in ("part", "class", "parameters", "fp32", "bf16"):
        table.add_column(column, justify="left" if column in ("part", "class") else "right", overflow="fold")
    for part in report.parts:
        table.add_row(part.name, part.kind, f"{part.parameters:,}", _bytes(part.fp32), _bytes(part.bf16))
    numbers = sum(part.parameters for part in report.parts)
    table.add_row("together", "", f"{numbers:,}", _bytes(4 * numbers), _bytes(2 * numbers), style="bold")
    console.print(table)
    console.print("They fit.")


def _bytes(count: int) -> str:
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
