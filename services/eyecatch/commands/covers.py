"""eyecatch recommend | rank | draw | covers: clients of the Covers service."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyecatch.commands.common import Answer, PageSize, PageToken, as_json, fail, next_page
from eyecatch.commands.flags import remote

if TYPE_CHECKING:
    from eyecatch.client import Client
    from eyecatch.v1 import types_pb2

User = Annotated[str, typer.Option("--user", help="User id; empty = anonymous.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write the images to.", file_okay=False)]


def _size(text: str) -> "types_pb2.Size | None":
    from eyecatch.v1 import types_pb2

    if not text:
        return None
    edges = text.split("x")
    if len(edges) != 2 or not all(edge.isdecimal() and len(edge) < 6 for edge in edges):
        fail(f"error: size={text!r}; allowed: WIDTHxHEIGHT, for example 768x512")
    return types_pb2.Size(width=int(edges[0]), height=int(edges[1]))


def _parts(cover: "types_pb2.ScoredCover") -> str:
    return "  ".join(f"{p.name} {p.contribution:+.2f}" for p in cover.parts)


@remote
def recommend(
    client: "Client",
    items: Annotated[list[str], typer.Argument(help="Item ids.")],
    user: User = "",
    per_item: Annotated[int, typer.Option(help="Covers for each item.")] = 1,
    no_generation: Annotated[bool, typer.Option("--no-generation", help="Do not queue covers for thin pools.")] = False,
) -> Answer:
    """Recommend the best cover of each item for a user."""
    from eyecatch.v1 import covers_pb2

    request = covers_pb2.RecommendCoversRequest(
        user_id=user, item_ids=items, covers_per_item=per_item, no_generation=no_generation
    )
    response = client.covers.RecommendCovers(request, timeout=10)
    rows = []
    for item in response.items:
        problem = covers_pb2.ItemProblem.Name(item.problem).removeprefix("ITEM_PROBLEM_").lower()
        rows += [
            (item.item_id, s.cover_id, f"{s.score:.3f}", f"{s.propensity:.2f}", _parts(s)) for s in item.covers
        ] or [(item.item_id, "-", "-", "-", problem if item.problem else "")]
    how = "personalised" if response.personalised else "not personalised"
    title = f"decision {response.decision_id} ({how})"
    return Answer(as_json(response), title, ("item", "cover", "score", "propensity", "parts"), rows)


@remote
def rank(
    client: "Client",
    item: Annotated[str, typer.Argument(help="Item id; empty = the whole catalogue.")] = "",
    user: User = "",
    limit: Annotated[int, typer.Option(help="At most this many covers.")] = 16,
) -> Answer:
    """Rank all covers of an item, or the nearest covers of the catalogue, for a user."""
    from eyecatch.v1 import covers_pb2

    request = covers_pb2.RankCoversRequest(user_id=user, item_id=item, limit=limit)
    response = client.covers.RankCovers(request, timeout=10)
    rows = [(n + 1, s.cover_id, f"{s.score:.3f}", _parts(s)) for n, s in enumerate(response.covers)]
    return Answer(as_json(response), f"covers for {user or 'anyone'}", ("rank", "cover", "score", "parts"), rows)


@remote
def draw(
    client: "Client",
    item: Annotated[str, typer.Argument(help="Item id.")],
    user: User = "",
    count: Annotated[int, typer.Option(help="How many covers, 1 to 16.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Seed of the first cover.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    strength: Annotated[float | None, typer.Option(help="Personalisation, 0 to 1.")] = None,
    reference_strength: Annotated[
        float | None, typer.Option(help="How close the cover stays to the item's own picture, 0 to 1.")
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow item and user, 0 to 20.")] = None,
    size: Annotated[str, typer.Option(help="Size that the model draws, for example 768x512; default: its own.")] = "",
    negative: Annotated[str, typer.Option(help="Words of what to move away from.")] = "",
    inpaint: Annotated[
        bool, typer.Option("--inpaint", help="Paint a scene around the item's product; judged, and redrawn if refused.")
    ] = False,
    product: Annotated[str, typer.Option(help="A product the server was fine-tuned on: icg product train.")] = "",
    target: Annotated[str, typer.Option(help="Engagement that the covers should reach: low, medium or high.")] = "",
    segment: Annotated[
        str, typer.Option(help="A segment instead of a user, by id or name: eyecatch segments list.")
    ] = "",
    idempotency_key: Annotated[str, typer.Option(help="The same key gives the same covers.")] = "",
    out: Out = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 120.0,
) -> Answer:
    """Draw new covers of an item for a user."""
    from rich.console import Console
    from rich.progress import Progress

    from eyecatch.v1 import covers_pb2

    covers = []
    request = covers_pb2.GenerateCoversRequest(
        user_id=user,
        item_id=item,
        count=count,
        seed=seed,
        steps=steps,
        strength=strength,
        reference_strength=reference_strength,
        guidance=guidance,
        size=_size(size),
        negative=negative,
        inpaint=inpaint,
        product_id=product,
        target_kpi=target,
        segment=segment,
        idempotency_key=idempotency_key,
    )
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("queued", total=None)
        for update in client.covers.GenerateCovers(request, timeout=timeout):
            if update.WhichOneof("update") == "cover":
                covers.append(update.cover)
                continue
            p = update.progress
            label = f"queued behind {p.queue_position}" if p.queue_position else "denoising"
            progress.update(task, description=label, completed=p.step, total=p.total_steps or None)
    for cover in covers:
        _write(out, cover)
    title = f"new covers of {item}" + (f", written to {out}" if out else "")
    return _answer({"covers": [as_json(c) for c in covers]}, covers, title)


@remote
def covers(
    client: "Client",
    item: Annotated[str, typer.Argument(help="Item id.")],
    page_token: PageToken = "",
    page_size: PageSize = 100,
    out: Out = None,
) -> Answer:
    """List the covers of an item, oldest first."""
    from eyecatch.v1 import covers_pb2

    request = covers_pb2.ListCoversRequest(item_id=item, page_size=page_size, page_token=page_token)
    response = client.covers.ListCovers(request, timeout=10)
    for cover in response.covers if out else ():
        get = covers_pb2.GetCoverRequest(cover_id=cover.id, include_image=True)
        _write(out, client.covers.GetCover(get, timeout=10).cover)
    return _answer(as_json(response), response.covers, f"covers of {item}{next_page(response)}")


def _write(out: Path | None, cover: "types_pb2.Cover") -> None:
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{cover.id}.{cover.uri.rsplit('.', 1)[-1]}").write_bytes(cover.image)


def _answer(data: object, covers: "Sequence[types_pb2.Cover]", title: str) -> Answer:
    from eyecatch.v1 import types_pb2

    rows = [
        (
            c.id,
            types_pb2.Origin.Name(c.provenance.origin).removeprefix("ORIGIN_").lower(),
            f"{c.width}×{c.height}",
            c.taste if c.HasField("taste") else "-",
            standing(c),
            "  ".join(f"{k} {v:.2f}" for k, v in sorted(c.rewards.items())),
        )
        for c in covers
    ]
    return Answer(data, title, ("cover", "origin", "size", "taste", "trust", "rewards"), rows)


def standing(cover: "types_pb2.Cover") -> str:
    """Who may see it and why, for a table."""
    from eyecatch.v1 import types_pb2

    trust = types_pb2.Trust.Name(cover.trust).removeprefix("TRUST_").lower().replace("_", " ")
    return "; ".join([trust + (", pinned" if cover.pinned else ""), *cover.reasons])
