"""eyecatch segments: the taste clusters of a state in words that can be read, changed, and drawn for. Without a server."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from eyecatch.commands.common import (
    DEFAULT_DATA,
    DataDir,
    Json,
    fail,
    print_json,
    print_table,
    quieten_models,
    readable_errors,
)
from eyecatch.config import Config
from eyecatch.core.errors import NotFound
from eyecatch.settings import resolved

if TYPE_CHECKING:
    from icg.design.segments import Segment

    from eyecatch.core.ports import Stores
    from eyecatch.core.tastes.clusters import TasteClusters

app = typer.Typer(
    help="Segments: taste clusters in words. A Redis store may be in use, an SQLite one not.", no_args_is_help=True
)
Checkpoint = Annotated[Path | None, typer.Option(help="Starter-shaped folder; default: the shipped starter.")]
Id = Annotated[str, typer.Argument(help="The segment's id or name.", show_default=False)]
T = TypeVar("T")


@app.command("describe")
def describe(checkpoint: Checkpoint = None, data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """Tell each taste cluster by what its users engaged with. Edited segments keep name and description."""
    from icg import starter
    from icg.design.describe import Describer
    from icg.design.segments import Group, Namer, Segment
    from icg.design.segments import describe as verb
    from icg.models import vlm
    from icg.models.joint import JointEmbedding
    from icg.pictures import decode
    from icg.reliability.cues import SmallCues

    from eyecatch.core.tastes.segments import load, save
    from eyecatch.upkeep.segments import gather

    root = checkpoint or starter.path()
    quieten_models()

    async def work(config: Config, stores: "Stores", clusters: "TasteClusters", encoder: int) -> "list[Segment]":
        from eyecatch.stores.blobs import FsspecBlobs

        gathered = await gather(stores, FsspecBlobs(config.blobs), clusters, encoder)
        if not gathered:
            fail("error: no user of a taste cluster engaged with an item that is still there; nothing to describe")
        titles = [item.title for one in gathered for item in one.items]
        reader = vlm.load(root / "vlm")
        describer = Describer(
            JointEmbedding.from_pretrained(root),
            SmallCues.from_pretrained(root / "reliability" / "cues"),
            *reader,
            titles,
        )
        groups = [
            Group(
                one.id, one.embedding, one.users, [item.title for item in one.items],
                [c for item in one.items for c in item.category.split("|") if c],
                describer([decode(data, "cover") for data in one.images]) if one.images else [],
            )
            for one in gathered
        ]  # fmt: skip
        before = [Segment.from_dict(one) for one in await load(stores.notes, clusters)]
        found: list[Segment] = verb(groups, before, Namer(*reader))
        written = [one for one in before if not one.users]
        await save(stores.notes, clusters, [one.to_dict() for one in [*found, *written]])
        return [*found, *written]

    _answer(data_dir, work, json)


@app.command("list")
def list_(data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """The segments described last, and those added."""
    from icg.design.segments import Segment

    from eyecatch.core.tastes.segments import load

    async def work(config: Config, stores: "Stores", clusters: "TasteClusters", encoder: int) -> "list[Segment]":
        return [Segment.from_dict(one) for one in await load(stores.notes, clusters)]

    _answer(data_dir, work, json)


@app.command("add")
def add(
    text: Annotated[str, typer.Argument(help="Whom it is for, in words: coffee enthusiasts.", show_default=False)],
    closest: Annotated[int, typer.Option(help="Covers that fit the words best, whose mean stands for it.", min=1)] = 30,
    checkpoint: Checkpoint = None,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """A segment that nobody measured, from words alone: its taste is that of the covers of items whose titles fit them best."""
    from hashlib import sha256

    from icg import starter
    from icg.design.segments import from_text
    from icg.models.joint import JointEmbedding

    from eyecatch.core.tastes.segments import load, save

    quieten_models()

    async def work(config: Config, stores: "Stores", clusters: "TasteClusters", encoder: int) -> "list[Segment]":
        import numpy as np

        covers = [cover async for cover in stores.catalog.all_covers()]
        items = {id: await stores.catalog.item(id) for id in {cover.item_id for cover in covers}}
        titles = [item.title if (item := items[cover.item_id]) else "" for cover in covers]
        embedding = JointEmbedding.from_pretrained(checkpoint or starter.path())
        relevance = embedding.texts(titles) @ embedding.texts([text])[0]
        tastes = np.stack([cover.embedding for cover in covers]) if covers else np.zeros((0, 1), np.float32)
        made = from_text(f"t{sha256(text.encode()).hexdigest()[:8]}", text, titles, relevance, tastes, closest)
        others = [one for one in await load(stores.notes, clusters) if one["id"] != made.id]
        await save(stores.notes, clusters, [*others, made.to_dict()])
        return [made]

    _answer(data_dir, work, json)


@app.command("edit")
def edit(
    id: Id,
    name: Annotated[str | None, typer.Option(help="A name of at most 64 characters.")] = None,
    text: Annotated[str | None, typer.Option(help="A description of at most 1,000 characters.")] = None,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Give a segment another name or description; describing again keeps both."""
    from icg.design.segments import Segment

    from eyecatch.core.tastes.segments import find, load, save

    async def work(config: Config, stores: "Stores", clusters: "TasteClusters", encoder: int) -> "list[Segment]":
        kept = await load(stores.notes, clusters)
        chosen = find(kept, id)
        changed = Segment.from_dict(dict(chosen)).renamed(name, text)
        await save(stores.notes, clusters, [changed.to_dict() if one is chosen else one for one in kept])
        return [changed]

    _answer(data_dir, work, json)


@app.command("generate")
def generate(
    id: Id,
    item: Annotated[str, typer.Option(help="Id of the item to draw covers of.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the covers.", file_okay=False)],
    count: Annotated[int, typer.Option(help="Covers to keep.", min=1, max=16)] = 4,
    draws: Annotated[int, typer.Option(help="Pictures drawn for each that is kept.", min=1, max=16)] = 2,
    clip: Annotated[
        Path | None,
        typer.Option(help="Folder of a CLIP or SigLIP that ranks; default: the checkpoint's own relevance."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first.", min=0)] = 0,
    checkpoint: Checkpoint = None,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Draw covers of an item for a segment, and keep those that rank best for its title and the segment's taste."""
    from icg.brief import Brief
    from icg.design.segments import Segment, rerank
    from icg.draw.ask import anchoring
    from icg.errors import IcgError
    from icg.pictures import decode
    from icg.provenance import to_png
    from icg.starter import load as starter
    from icg.starter import rewards

    from eyecatch.core.tastes.segments import find, load
    from eyecatch.stores.blobs import FsspecBlobs

    async def work(
        config: Config, stores: "Stores", clusters: "TasteClusters", encoder: int
    ) -> tuple[Segment, str, list[bytes]]:
        chosen = Segment.from_dict(dict(find(await load(stores.notes, clusters), id)))
        found = await stores.catalog.item(item)
        if found is None:
            raise NotFound("item", item)
        blobs = FsspecBlobs(config.blobs)
        return chosen, found.title, [await blobs.get(uri) for uri in found.references[:2]]

    segment, title, references = _opened(data_dir, work)
    try:
        quieten_models()
        with_models = starter(checkpoint)
        pictures = tuple(decode(data, "reference") for data in references)
        briefs = [
            Brief(title, pictures, user_embedding=segment.embedding, seed=seed + n, **anchoring(pictures))
            for n in range(count * draws)
        ]
        images = [image for n in range(0, len(briefs), 8) for image in with_models.pipeline(briefs[n : n + 8])]
        relevance = rewards.load("clip", clip) if clip is not None else with_models.rewards["relevance"]
        best = rerank(images, briefs[0], relevance, with_models.rewards["preference"])[:count]
        out.mkdir(parents=True, exist_ok=True)
        paths = []
        for n in best:
            brief = briefs[n]
            told = {"model": with_models.name, "segment": segment.id, "seed": brief.seed, "steps": brief.steps}
            paths.append(out / f"{segment.id}-{brief.seed}.png")
            paths[-1].write_bytes(to_png(images[n], {**told, "brief_digest": brief.digest()}))
    except (IcgError, OSError) as error:
        fail(f"error: {error}")
    if json:
        return print_json({"segment": segment.id, "covers": [str(path) for path in paths]})
    typer.echo(
        f"{count} covers of {item} for {segment.name} in {out}, the best first: {', '.join(p.name for p in paths)}"
    )


def _opened(data_dir: str, work: "Callable[[Config, Stores, TasteClusters, int], Awaitable[T]]") -> T:
    """`work` on the state, its taste clusters and the version of its encoder."""
    import asyncio

    from eyecatch.upkeep.clusters import load
    from eyecatch.wiring.stores import current_encoder, open_stores

    async def run() -> T:
        config = resolved(Config, {"data_dir": data_dir})
        async with open_stores(config) as stores:
            encoder = await current_encoder(config, stores)
            clusters = await load(stores.notes, encoder)
            if clusters is None:
                fail("error: no taste clusters were fitted with the current encoder; try: eyecatch clusters fit")
            return await work(config, stores, clusters, encoder.version)

    with readable_errors():
        return asyncio.run(run())


def _answer(
    data_dir: str, work: "Callable[[Config, Stores, TasteClusters, int], Awaitable[list[Segment]]]", json: bool
) -> None:
    """Print the segments that `work` gives."""
    from icg.errors import IcgError

    try:
        segments = _opened(data_dir, work)
    except IcgError as error:
        fail(f"error: {error}")
    if not segments:
        fail("error: no segments are described; try: eyecatch segments describe")
    if json:
        plain: list[dict[str, Any]] = [one.to_dict() for one in segments]
        return print_json({"segments": [{k: v for k, v in one.items() if k != "embedding"} for one in plain]})
    rows = [(one.id, one.users, one.name + (" (edited)" if one.edited else ""), one.text) for one in segments]
    print_table(f"{len(rows)} segments", ("id", "users", "name", "description"), rows)
