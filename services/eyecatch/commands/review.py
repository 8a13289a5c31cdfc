"""eyecatch review ...: clients of the Review service, for editors."""

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from eyecatch.commands.common import Answer, PageSize, PageToken, as_json, fail, next_page
from eyecatch.commands.covers import standing
from eyecatch.commands.flags import remote

if TYPE_CHECKING:
    from eyecatch.client import Client
    from eyecatch.v1 import review_pb2, types_pb2

app = typer.Typer(help="Decide which made covers users may see, on a running server.", no_args_is_help=True)

CoverId = Annotated[str, typer.Argument(help="Cover id.")]
Editor = Annotated[str, typer.Option("--editor", help="Your name for the audit record; empty = this user's name.")]
Note = Annotated[str, typer.Option("--note", help="Why, for the audit record.")]


def _decider(editor: str, note: str) -> "review_pb2.Decider":
    from eyecatch.v1 import review_pb2

    return review_pb2.Decider(editor=editor or getpass.getuser(), note=note)


def _decided(cover: "types_pb2.Cover") -> Answer:
    return Answer(as_json(cover), f"cover {cover.id} of {cover.item_id}: {standing(cover)}")


@app.command("list")
@remote
def waiting(
    client: "Client",
    on_trial: Annotated[bool, typer.Option("--on-trial", help="Covers on trial instead of candidates.")] = False,
    page_size: PageSize = 100,
    page_token: PageToken = "",
) -> Answer:
    """List the made covers that wait for an editor, with the gates that they failed."""
    from eyecatch.v1 import review_pb2, types_pb2

    trust = types_pb2.TRUST_ON_TRIAL if on_trial else types_pb2.TRUST_CANDIDATE
    request = review_pb2.ListWaitingCoversRequest(trust=trust, page_size=page_size, page_token=page_token)
    response = client.review.ListWaitingCovers(request, timeout=10)
    rows = [(c.id, c.item_id, f"{c.width}×{c.height}", standing(c)) for c in response.covers]
    title = f"covers that wait{next_page(response)}"
    return Answer(as_json(response), title, ("cover", "item", "size", "trust"), rows)


@app.command()
@remote
def approve(client: "Client", cover: CoverId, editor: Editor = "", note: Note = "") -> Answer:
    """Let every user see a cover for whom it is the best, also one that failed a gate or is retired."""
    from eyecatch.v1 import review_pb2

    request = review_pb2.ApproveCoverRequest(cover_id=cover, decider=_decider(editor, note))
    return _decided(client.review.ApproveCover(request, timeout=10).cover)


@app.command()
@remote
def retire(client: "Client", cover: CoverId, editor: Editor = "", note: Note = "") -> Answer:
    """Show a cover to nobody any more, and keep it."""
    from eyecatch.v1 import review_pb2

    request = review_pb2.RetireCoverRequest(cover_id=cover, decider=_decider(editor, note))
    return _decided(client.review.RetireCover(request, timeout=10).cover)


@app.command()
@remote
def delete(client: "Client", cover: CoverId, editor: Editor = "", note: Note = "") -> Answer:
    """Delete a made cover and its image."""
    from eyecatch.v1 import review_pb2

    client.review.DeleteCover(review_pb2.DeleteCoverRequest(cover_id=cover, decider=_decider(editor, note)), timeout=10)
    return Answer({"cover_id": cover}, f"deleted cover {cover}")


@app.command()
@remote
def pin(
    client: "Client",
    item: Annotated[str, typer.Argument(help="Item id.")],
    cover: Annotated[str, typer.Argument(help="One of its covers; empty = remove the pin.")] = "",
    editor: Editor = "",
    note: Note = "",
) -> Answer:
    """Show one trusted cover alone for its item, to every user."""
    from eyecatch.v1 import review_pb2

    request = review_pb2.PinCoverRequest(item_id=item, cover_id=cover, decider=_decider(editor, note))
    changed = client.review.PinCover(request, timeout=10).covers_changed
    what = f"cover {cover} is pinned" if cover else "no cover is pinned"
    return Answer({"covers_changed": changed}, f"{what} for {item} ({changed} changed)")


@app.command()
@remote
def restore(
    client: "Client",
    items: Annotated[list[str] | None, typer.Argument(help="Item ids.")] = None,
    all_items: Annotated[bool, typer.Option("--all", help="Every item of the catalogue.")] = False,
    editor: Editor = "",
    note: Note = "",
) -> Answer:
    """Show the originals again, and nothing else: retire made covers, trust catalogue covers, remove pins."""
    from eyecatch.v1 import review_pb2

    if bool(items) == all_items:
        fail("error: name the items, or give --all")
    request = review_pb2.RestoreOriginalsRequest(item_ids=items or (), all=all_items, decider=_decider(editor, note))
    changed = client.review.RestoreOriginals(request, timeout=600).covers_changed
    return Answer({"covers_changed": changed}, f"originals restored; {changed} covers changed")


@app.command()
@remote
def audit(client: "Client", page_size: PageSize = 100, page_token: PageToken = "") -> Answer:
    """List decisions about covers, newest first."""
    from eyecatch.v1 import review_pb2

    request = review_pb2.ListAuditEntriesRequest(page_size=page_size, page_token=page_token)
    response = client.review.ListAuditEntries(request, timeout=10)
    rows = [
        (e.time.ToDatetime().isoformat(" ", "seconds"), e.by, e.action, e.item_id, e.cover_id, e.note)
        for e in response.entries
    ]
    title = f"decisions, newest first (UTC){next_page(response)}"
    return Answer(as_json(response), title, ("time", "by", "action", "item", "cover", "note"), rows)
