"""eyecatch clusters generate: covers of the whole catalogue, for the largest taste clusters."""

from typing import TYPE_CHECKING, Annotated

import typer

from eyecatch.commands.common import DEFAULT_DATA, Answer, DataDir, Json, Ray, fail, run_on_stores, shard_runner

if TYPE_CHECKING:
    from eyecatch.config import Config
    from eyecatch.core.ports import Stores


def generate(
    tastes: Annotated[int, typer.Option(help="The largest taste clusters to draw for.", min=1, max=63)] = 8,
    count: Annotated[int, typer.Option(help="Covers of each item for each of them.", min=1, max=16)] = 1,
    ray: Ray = "",
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Draw covers of all items for taste clusters, those that are missing. Who sees them is EYECATCH_MADE_COVERS' matter. After an
    interruption the next run does the rest. A Redis store may be in use, an SQLite store may not. The last line is JSON."""

    async def work(config: "Config", stores: "Stores") -> dict[str, int]:
        from rich.console import Console
        from rich.progress import Progress

        from eyecatch.generate.bulk import BulkExtent, Draw, bulk
        from eyecatch.stores.blobs import FsspecBlobs
        from eyecatch.upkeep.clusters import load
        from eyecatch.wiring.bulk import OpenDrafts, OpenGenerator, closed, interrupted
        from eyecatch.wiring.maker import maker_options
        from eyecatch.wiring.stores import current_encoder

        clusters = await load(stores.notes, await current_encoder(config, stores))
        if clusters is None:
            fail("error: no taste clusters were fitted with the current encoder; try: eyecatch clusters fit")
        generator = OpenGenerator(config)
        drafts = OpenDrafts(generator)
        items = (await stores.catalog.counts())[0]
        with (
            shard_runner(ray, gpu=True) as runner,
            interrupted(config, "generate") as results,
            Progress(console=Console(stderr=True)) as bar,
        ):
            task = bar.add_task("items", total=items)
            async with closed(generator, not ray):
                return await bulk(
                    stores.catalog,
                    stores.queue,
                    FsspecBlobs(config.blobs),
                    Draw(drafts, drafts.model),
                    maker_options(config),
                    clusters,
                    BulkExtent(tastes, count),
                    results,
                    runner,
                    lambda done: bar.update(task, completed=done),
                )

    counts = run_on_stores(data_dir, work)
    rows = sorted(counts.items())
    Answer(counts, "pairs of item and taste cluster", ("what", "how many"), rows).print(json)
    if not json:
        import json as text

        typer.echo(text.dumps(counts))


def register(clusters: typer.Typer) -> None:
    clusters.command("generate")(generate)
