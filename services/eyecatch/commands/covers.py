"""eyecatch recommend | rank | draw | covers: clients of the Covers service."""

from pathlib import Path
from typing import Annotated

import typer

from eyecatch.commands.common import (
    DEFAULT_SERVER,
    Json,
    Server,
    Token,
    as_json,
    client,
    print_json,
    print_table,
)

User = Annotated[str, typer.Option("--user", help="User id; empty = anonymous.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write the images to.", file_okay=False)]


def _parts(cover) -> str:  # type: ignore[no-untyped-def]
    return "  ".join(f"{p.name} {p.contribution:+.2f}" for p in cover.parts)


def recommend(
    items: Annotated[list[str], typer.Argument(help="Item ids.")],
    user: User = "",
    per_item: Annotated[int, typer.Option(help="Covers wanted for each item.")] = 1,
    no_generation: Annotated[bool, typer.Option("--no-generation", help="Do not queue covers for thin pools.")] = False,
    server: Server = DEFAULT_SERVER,
    api_token: Token = "",
    json: Json = False,
) -> None:
    """The best cover of each item for a user."""
    from eyecatch.v1 import covers_pb2

    with client(server, api_token) as c:
        answer = c.covers.RecommendCovers(
            covers_pb2.RecommendCoversRequest(
                user_id=user, item_ids=items, covers_per_item=per_item, no_generation=no_generation
            ),
            timeout=10,
        )
    if json:
        return print_json(as_json(answer))
    rows = []
    for item in answer.items:
        problem = (
            covers_pb2.ItemProblem.Name(item.problem).removeprefix("ITEM_PROBLEM_").lower() if item.problem else ""
        )
        rows += [
            (item.item_id, s.cover_id, f"{s.score:.3f}", f"{s.propensity:.2f}", _parts(s)) for s in item.covers
        ] or [(item.item_id, "-", "-", "-", problem)]
    who = "personalised" if answer.personalised else "not personalised"
    print_table(f"decision {answer.decision_id} ({who})", ("item", "cover", "score", "propensity", "parts"), rows)


def rank(
    item: Annotated[str, typer.Argument(help="Item id; empty = the whole catalogue.")] = "",
    user: User = "",
    limit: Annotated[int, typer.Option(help="At most this many covers.")] = 16,
    server: Server = DEFAULT_SERVER,
    api_token: Token = "",
    json: Json = False,
) -> None:
    """All covers of an item, or the nearest of the catalogue, ranked for a user."""
    from eyecatch.v1 import covers_pb2

    with client(server, api_token) as c:
        answer = c.covers.RankCovers(covers_pb2.RankCoversRequest(user_id=user, item_id=item, limit=limit), timeout=10)
    if json:
        return print_json(as_json(answer))
    rows = [(n + 1, s.cover_id, f"{s.score:.3f}", _parts(s)) for n, s in enumerate(answer.covers)]
    print_table(f"covers for {user or 'anyone'}", ("rank", "cover", "score", "parts"), rows)


def draw(
    item: Annotated[str, typer.Argument(help="Item id.")],
    user: User = "",
    count: Annotated[int, typer.Option(help="How many covers, 1 to 16.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Seed of the first cover.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    strength: Annotated[float | None, typer.Option(help="Personalisation, 0 to 1.")] = None,
    reference_strength: Annotated[float | None, typer.Option(help="Anchor in the item's own picture, 0 to 1.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How firmly to follow item and user, 0 to 20.")] = None,
    inpaint: Annotated[
        bool, typer.Option("--inpaint", help="Paint a scene around the item's product, judged and drawn again.")
    ] = False,
    product: Annotated[str, typer.Option(help="A product the server was fine-tuned on: icg product train.")] = "",
    target: Annotated[str, typer.Option(help="Engagement that the covers are to reach: low, medium or high.")] = "",
    segment: Annotated[
        str, typer.Option(help="A segment in place of a user, by id or name: eyecatch segments list.")
    ] = "",
    idempotency_key: Annotated[str, typer.Option(help="The same key gives the same covers.")] = "",
    out: Out = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 120.0,
    server: Server = DEFAULT_SERVER,
    api_token: Token = "",
    json: Json = False,
) -> None:
    """Make new covers of an item for a user."""
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
        inpaint=inpaint,
        product_id=product,
        target_kpi=target,
        segment=segment,
        idempotency_key=idempotency_key,
    )
    with client(server, api_token) as c, Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("queued", total=None)
        for update in c.covers.GenerateCovers(request, timeout=timeout):
            if update.WhichOneof("update") == "cover":
                covers.append(update.cover)
                continue
            p = update.progress
            label = f"queued behind {p.queue_position}" if p.queue_position else "denoising"
            progress.update(task, description=label, completed=p.step, total=p.total_steps or None)
    for cover in covers:
        _write(out, cover)
    if json:
        return print_json({"covers": [as_json(c) for c in covers]})
    _print_covers(covers, f"new covers of {item}" + (f", written to {out}" if out else ""))


def covers(
    item: Annotated[str, typer.Argument(help="Item id.")],
    page_token: Annotated[str, typer.Option(help="From the last page.")] = "",
    page_size: Annotated[int, typer.Option(help="Rows a page.")] = 100,
    out: Out = None,
    server: Server = DEFAULT_SERVER,
    api_token: Token = "",
    json: Json = False,
) -> None:
    """The covers an item has, oldest first."""
    from eyecatch.v1 import covers_pb2

    with client(server, api_token) as c:
        request = covers_pb2.ListCoversRequest(item_id=item, page_size=page_size, page_token=page_token)
        answer = c.covers.ListCovers(request, timeout=10)
        for cover in answer.covers if out else ():
            get = covers_pb2.GetCoverRequest(cover_id=cover.id, include_image=True)
            _write(out, c.covers.GetCover(get, timeout=10).cover)
    if json:
        return print_json(as_json(answer))
    _print_covers(
        answer.covers,
        f"covers of {item}" + (f"; next page: {answer.next_page_token}" if answer.next_page_token else ""),
    )


def _write(out: Path | None, cover) -> None:  # type: ignore[no-untyped-def]
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{cover.id}.{cover.uri.rsplit('.', 1)[-1]}").write_bytes(cover.image)


def _print_covers(covers, title: str) -> None:  # type: ignore[no-untyped-def]
    from eyecatch.v1 import types_pb2

    rows = [
        (
            c.id,
            types_pb2.Origin.Name(c.provenance.origin).removeprefix("ORIGIN_").lower(),
            f"{c.width}×{c.height}",
            c.taste if c.HasField("taste") else "-",
            "  ".join(f"{k} {v:.2f}" for k, v in sorted(c.rewards.items())),
        )
        for c in covers
    ]
    print_table(title, ("cover", "origin", "size", "taste", "rewards"), rows)
