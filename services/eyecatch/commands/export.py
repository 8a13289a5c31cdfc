"""eyecatch export behaviour | catalogue: the state as Parquet tables and pictures, for recipes and for analysis."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyecatch.commands.common import DEFAULT_DATA, Answer, DataDir, Json
from eyecatch.commands.upkeep import run_with_progress

if TYPE_CHECKING:
    from eyecatch.commands.upkeep import OnProgress
    from eyecatch.config import Config
    from eyecatch.core.ports import Stores

app = typer.Typer(help="The state as tables and pictures. A Redis store may be in use.", no_args_is_help=True)
Out = Annotated[
    Path, typer.Option(help="Folder to write to; files of an earlier export are replaced.", file_okay=False)
]


@app.command("behaviour")
def behaviour(out: Out, data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """Write events.parquet and decisions.parquet, with the position and the propensity of what was shown."""
    counts = dict[str, int]()

    async def work(config: "Config", stores: "Stores", on_progress: "OnProgress") -> int:
        from eyecatch.exporting.behaviour import export_behaviour

        counts.update(await export_behaviour(stores.profiles, stores.decisions, out, on_progress))
        return counts["events"]

    run_with_progress("events", data_dir, work, any_space=True)
    text = f"{counts['events']} events and {counts['decisions']} decisions in {out}"
    Answer(counts, f"{text}; next: icg space fit --data {out} --out space").print(json)


@app.command("catalogue")
def catalogue(out: Out, data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """Write items.parquet, covers.parquet and pictures/: the covers of the catalogue, not made ones."""
    counts = dict[str, int]()

    async def work(config: "Config", stores: "Stores", on_progress: "OnProgress") -> int:
        from eyecatch.exporting.catalogue import export_catalogue
        from eyecatch.stores.blobs import FsspecBlobs

        counts.update(await export_catalogue(stores.catalog, FsspecBlobs(config.blobs), out, on_progress))
        return counts["items"]

    run_with_progress("items", data_dir, work, any_space=True)
    lost = f", {counts['lost']} without their picture left out" if counts["lost"] else ""
    Answer(counts, f"{counts['items']} items and {counts['covers']} covers in {out}{lost}").print(json)
