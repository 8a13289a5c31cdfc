"""eyecatch segments: taste clusters in words, which can be listed, edited and drawn for. Works without a server."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from eyecatch.commands.common import DEFAULT_DATA, Answer, DataDir, Json, fail, quieten_models, run_on_stores
from eyecatch.core.errors import NotFound

if TYPE_CHECKING:
    from icg.design.segments import Segment

    from eyecatch.config import Config
    from eyecatch.core.ports import Stores
    from eyecatch.core.tastes.clusters import TasteClusters

app = typer.Typer(
    help="Segments: taste clusters in words. `list` and `generate` work beside a server; the others need an SQLite store for themselves.",
    no_args_is_help=True,
)
Checkpoint = Annotated[Path | None, typer.Option(help="Starter-shaped folder; default: the shipped starter.")]
Id = Annotated[str, typer.Argument(help="Id or name of the segment.", show_default=False)]
T = TypeVar("T")


@app.command("describe")
def describe(checkpoint: Checkpoint = None, data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """Describe each taste cluster by the items and covers that its users engaged with. Edited segments keep name and description."""
    from icg import starter
    from icg.design.describe import Describer
    from icg.design.segments import Group, Namer, Segment
    from icg.design.segments import describe as describe_groups
    from icg.models import vlm
    from icg.models.joint import JointEmbedding
    from icg.pictures import decode
    from icg.reliability.cues import SmallCues

    from eyecatch.core.tastes.segments import load, save
    from eyecatch.upkeep.segments import gather

    root = checkpoint or starter.path()
    quieten_models()

    async def work(config: "Config", stores: "Stores", clusters: "TasteClusters", encoder: int) -> "list[Segment]":
        from eyecatch.stores.blobs import FsspecBlobs

        behaviour = await gather(stores, FsspecBlobs(config.blobs), clusters, encoder)
        if not behaviour:
            fail("error: no user of a taste cluster engaged with an item that still exists; nothing to describe")
        titles = [item.title for cluster in behaviour for item in cluster.items]
        reader = vlm.load(root / "vlm")
        describer = Describer(
            JointEmbedding.from_pretrained(root),
            SmallCues.from_pretrained(root / "reliability" / "cues"),
            *reader,
            titles,
        )
        groups = []
        for c in behaviour:
            categories = [name for item in c.items for name in item.category.split("|") if name]
            looks = describer([decode(data, "cover") for data in c.images]) if c.images else []
            groups.append(Group(c.id, c.embedding, c.users, [item.title for item in c.items], categories, looks))
        before = [Segment.from_dict(segment) for segment in await load(stores.notes, clusters)]
        segments = [*describe_groups(groups, before, Namer(*reader)), *(s for s in before if not s.users)]
        await save(stores.notes, clusters, [segment.to_dict() for segment in segments])
        return segments

    _answer(data_dir, work, json)


@app.command("list")
def list_(data_dir: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """List the described and the added segments."""
    from icg.design.segments import Segment

    from eyecatch.core.tastes.segments import load

    async def work(config: "Config", stores: "Stores", clusters: "TasteClusters", encoder: int) -> "list[Segment]":
        return [Segment.from_dict(segment) for segment in await load(stores.notes, clusters)]

    _answer(data_dir, work, json, read_only=True)


@app.command("add")
def add(
    text: Annotated[
        str, typer.Argument(help="The users in words, for example: coffee enthusiasts.", show_default=False)
    ],
    closest: Annotated[
        int, typer.Option(help="Number of best fitting covers whose mean is the taste of the segment.", min=1)
    ] = 30,
    checkpoint: Checkpoint = None,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Add a segment from words: its taste is the mean of the covers of items whose titles fit the words best."""
    from hashlib import sha256

    from icg import starter
    from icg.design.segments import from_text
    from icg.models.joint import JointEmbedding

    from eyecatch.core.tastes.segments import check_name, load, save

    quieten_models()

    async def work(config: "Config", stores: "Stores", clusters: "TasteClusters", encoder: int) -> "list[Segment]":
        import numpy as np

        covers = [cover async for cover in stores.catalog.all_covers()]
        items = {id: await stores.catalog.item(id) for id in {cover.item_id for cover in covers}}
        titles = [item.title if (item := items[cover.item_id]) else "" for cover in covers]
        embedding = JointEmbedding.from_pretrained(checkpoint or starter.path())
        relevance = embedding.texts(titles) @ embedding.texts([text])[0]
        tastes = np.stack([cover.embedding for cover in covers]) if covers else np.zeros((0, 1), np.float32)
        segment = from_text(f"t{sha256(text.encode()).hexdigest()[:8]}", text, titles, relevance, tastes, closest)
        check_name(await load(stores.notes, clusters), segment.id, segment.name)
        others = [other for other in await load(stores.notes, clusters) if other["id"] != segment.id]
        await save(stores.notes, clusters, [*others, segment.to_dict()])
        return [segment]

    _answer(data_dir, work, json)


@app.command("edit")
def edit(
    id: Id,
    name: Annotated[str | None, typer.Option(help="A name of at most 64 characters.")] = None,
    text: Annotated[str | None, typer.Option(help="A description of at most 1,000 characters.")] = None,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Change the name or the description of a segment; `describe` keeps both."""
    from icg.design.segments import Segment

    from eyecatch.core.tastes.segments import check_name, find, load, save

    async def work(config: "Config", stores: "Stores", clusters: "TasteClusters", encoder: int) -> "list[Segment]":
        segments = await load(stores.notes, clusters)
        old = find(segments, id)
        new = Segment.from_dict(dict(old)).renamed(name, text)
        check_name(segments, new.id, new.name)
        await save(stores.notes, clusters, [new.to_dict() if segment is old else segment for segment in segments])
        return [new]

    _answer(data_dir, work, json)


@app.command("generate")
def generate(
    id: Id,
    item: Annotated[str, typer.Option(help="Id of the item to draw covers of.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the covers.", file_okay=False)],
    count: Annotated[int, typer.Option(help="Covers to keep.", min=1, max=16)] = 4,
    draws: Annotated[int, typer.Option(help="Pictures drawn for each of them.", min=1, max=16)] = 2,
    clip: Annotated[
        Path | None,
        typer.Option(help="Folder of a CLIP or SigLIP for ranking; default: the checkpoint's relevance."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first picture.", min=0)] = 0,
    checkpoint: Checkpoint = None,
    data_dir: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Draw covers of an item for a segment, and write those that rank best for its title and the segment's taste."""
    from icg.compose.choice import preferred_first
    from icg.design.segments import Segment, rerank
    from icg.draw import ask
    from icg.errors import IcgError
    from icg.pictures import decode
    from icg.provenance import to_png
    from icg.starter import load as starter
    from icg.starter import rewards

    from eyecatch.core.tastes.segments import audience, find, load
    from eyecatch.stores.blobs import FsspecBlobs

    async def work(
        config: "Config", stores: "Stores", clusters: "TasteClusters", encoder: int
    ) -> tuple[Segment, str, list[bytes]]:
        segment = Segment.from_dict(dict(find(await load(stores.notes, clusters), id)))
        row = await stores.catalog.item(item)
        if row is None:
            raise NotFound("item", item)
        blobs = FsspecBlobs(config.blobs)
        return segment, row.title, [await blobs.get(uri) for uri in row.references]

    segment, title, references = _run_on_clusters(data_dir, work, read_only=True)
    try:
        quieten_models()
        with_models = starter(checkpoint)
        embeddings = with_models.embedding.covers([decode(data, "reference") for data in references])
        pictures = preferred_first(references, segment.embedding, [*embeddings], with_models.affinity)[:2]
        words = audience(segment.to_dict())
        brief = ask.brief(title, pictures, user_embedding=segment.embedding, audience=words)
        briefs = [replace(brief, seed=seed + n) for n in range(count * draws)]
        images = [image for n in range(0, len(briefs), 8) for image in with_models.pipeline(briefs[n : n + 8])]
        relevance = rewards.load("clip", clip) if clip is not None else with_models.rewards["relevance"]
        best = rerank(images, briefs[0], relevance, with_models.rewards["preference"])[:count]
        out.mkdir(parents=True, exist_ok=True)
        paths = []
        for n in best:
            brief = briefs[n]
            provenance = {"model": with_models.name, "segment": segment.id, "seed": brief.seed, "steps": brief.steps}
            paths.append(out / f"{segment.id}-{brief.seed}.png")
            paths[-1].write_bytes(to_png(images[n], {**provenance, "brief_digest": brief.digest()}))
    except (IcgError, OSError) as error:
        fail(f"error: {error}")
    names = ", ".join(path.name for path in paths)
    text = f"{count} covers of {item} for {segment.name} in {out}, the best first: {names}"
    Answer({"segment": segment.id, "covers": [str(path) for path in paths]}, text).print(json)


def _run_on_clusters(
    data_dir: str, work: "Callable[[Config, Stores, TasteClusters, int], Awaitable[T]]", read_only: bool = False
) -> T:
    """The result of `work` on the opened stores, their taste clusters and the version of their encoder."""
    from eyecatch.upkeep.clusters import load
    from eyecatch.wiring.stores import current_encoder

    async def run(config: "Config", stores: "Stores") -> T:
        encoder = await current_encoder(config, stores)
        clusters = await load(stores.notes, encoder)
        if clusters is None:
            fail("error: no taste clusters were fitted with the current encoder; try: eyecatch clusters fit")
        return await work(config, stores, clusters, encoder.version)

    return run_on_stores(data_dir, run, read_only=read_only)


def _answer(
    data_dir: str,
    work: "Callable[[Config, Stores, TasteClusters, int], Awaitable[list[Segment]]]",
    json: bool,
    read_only: bool = False,
) -> None:
    """Print the segments that `work` returns."""
    from icg.errors import IcgError

    try:
        segments = _run_on_clusters(data_dir, work, read_only)
    except IcgError as error:
        fail(f"error: {error}")
    if not segments:
        fail("error: no segments are described; try: eyecatch segments describe")
    data = {"segments": [{k: v for k, v in s.to_dict().items() if k != "embedding"} for s in segments]}
    rows = [(s.id, s.users, s.name + (" (edited)" if s.edited else ""), s.text) for s in segments]
    Answer(data, f"{len(rows)} segments", ("id", "users", "name", "description"), rows).print(json)
