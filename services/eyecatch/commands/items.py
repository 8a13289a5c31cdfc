"""eyecatch items list | get | upsert | delete: clients of the Catalog service."""

import mimetypes
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyecatch.commands.common import Answer, PageSize, PageToken, as_json, fail, next_page
from eyecatch.commands.flags import remote

if TYPE_CHECKING:
    from eyecatch.client import Client
    from eyecatch.v1 import types_pb2

app = typer.Typer(help="Read and write items on a running server.", no_args_is_help=True)

ItemId = Annotated[str, typer.Argument(help="Item id.")]


def _items(items: "Iterable[types_pb2.Item]", title: str) -> Answer:
    rows = [(i.id, i.title, i.category, len(i.references)) for i in items]
    return Answer({"items": [as_json(i) for i in items]}, title, ("item", "title", "category", "references"), rows)


@app.command("list")
@remote
def list_items(
    client: "Client",
    category: Annotated[str, typer.Option(help="Only this category.")] = "",
    page_size: PageSize = 100,
    page_token: PageToken = "",
) -> Answer:
    """List items in the order of their ids."""
    from eyecatch.v1 import catalog_pb2

    request = catalog_pb2.ListItemsRequest(page_size=page_size, page_token=page_token, category=category)
    response = client.catalog.ListItems(request, timeout=10)
    return _items(response.items, f"items{next_page(response)}")


@app.command("get")
@remote
def get_item(client: "Client", item: ItemId) -> Answer:
    """Show one item."""
    from eyecatch.v1 import catalog_pb2

    response = client.catalog.GetItem(catalog_pb2.GetItemRequest(item_id=item), timeout=10)
    return _items([response.item], item)


@app.command("upsert")
@remote
def upsert_item(
    client: "Client",
    item: ItemId,
    title: Annotated[str, typer.Option(help="Title.")],
    category: Annotated[str, typer.Option(help="Category.")] = "",
    image: Annotated[
        list[Path] | None, typer.Option(help="Picture file; repeat for more.", exists=True, dir_okay=False)
    ] = None,
) -> Answer:
    """Insert or replace one item with its pictures."""
    from eyecatch.v1 import catalog_pb2, types_pb2

    for path in image or ():
        kind = mimetypes.guess_type(path.name)[0] or ""
        if not kind.startswith("image/"):
            fail(f"error: {path.name} does not look like a picture")
    references = [types_pb2.Image(data=path.read_bytes()) for path in image or ()]
    message = types_pb2.Item(id=item, title=title, category=category, references=references)
    response = client.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[message]), timeout=60)
    return _items(response.items, "stored")


@app.command("delete")
@remote
def delete_item(client: "Client", item: ItemId) -> Answer:
    """Delete an item, its covers and their images."""
    from eyecatch.v1 import catalog_pb2

    count = client.catalog.DeleteItem(catalog_pb2.DeleteItemRequest(item_id=item), timeout=10).covers_deleted
    return Answer({"item_id": item, "covers_deleted": count}, f"deleted {item} with {count} covers")
