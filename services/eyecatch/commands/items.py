"""eyecatch items list | get | upsert | delete: clients of the Catalog service."""

import mimetypes
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
    fail,
    print_json,
    print_table,
)

app = typer.Typer(help="Read and write items on a running server.", no_args_is_help=True)


def _show(items, title: str, json: bool) -> None:  # type: ignore[no-untyped-def]
    if json:
        return print_json({"items": [as_json(i) for i in items]})
    print_table(
        title,
        ("item", "title", "category", "references"),
        [(i.id, i.title, i.category, len(i.references)) for i in items],
    )


@app.command("list")
def list_items(
    category: Annotated[str, typer.Option(help="Only this category.")] = "",
    page_size: Annotated[int, typer.Option(help="Rows a page.")] = 100,
    page_token: Annotated[str, typer.Option(help="From the last page.")] = "",
    server: Server = DEFAULT_SERVER,
    api_token: Token = "",
    json: Json = False,
) -> None:
    """Items by id."""
    from eyecatch.v1 import catalog_pb2

    with client(server, api_token) as c:
        request = catalog_pb2.ListItemsRequest(page_size=page_size, page_token=page_token, category=category)
        answer = c.catalog.ListItems(request, timeout=10)
    more = f"; next page: {answer.next_page_token}" if answer.next_page_token else ""
    _show(answer.items, f"items{more}", json)


@app.command("get")
def get_item(
    item: Annotated[str, typer.Argument(help="Item id.")],
    server: Server = DEFAULT_SERVER,
    api_token: Token = "",
    json: Json = False,
) -> None:
    """One item."""
    from eyecatch.v1 import catalog_pb2

    with client(server, api_token) as c:
        answer = c.catalog.GetItem(catalog_pb2.GetItemRequest(item_id=item), timeout=10)
    _show([answer.item], item, json)


@app.command("upsert")
def upsert_item(
    item: Annotated[str, typer.Argument(help="Item id.")],
    title: Annotated[str, typer.Option(help="Title.")],
    category: Annotated[str, typer.Option(help="Category.")] = "",
    image: Annotated[
        list[Path] | None, typer.Option(help="Picture file; repeat for more.", exists=True, dir_okay=False)
    ] = None,
    server: Server = DEFAULT_SERVER,
    api_token: Token = "",
    json: Json = False,
) -> None:
    """Insert or replace one item with its pictures."""
    from eyecatch.v1 import catalog_pb2, types_pb2

    for path in image or ():
        kind = mimetypes.guess_type(path.name)[0] or ""
        if not kind.startswith("image/"):
            fail(f"error: {path.name} does not look like a picture")
    references = [types_pb2.Image(data=path.read_bytes()) for path in image or ()]
    with client(server, api_token) as c:
        sent = types_pb2.Item(id=item, title=title, category=category, references=references)
        answer = c.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[sent]), timeout=60)
    _show(answer.items, "stored", json)


@app.command("delete")
def delete_item(
    item: Annotated[str, typer.Argument(help="Item id.")],
    server: Server = DEFAULT_SERVER,
    api_token: Token = "",
    json: Json = False,
) -> None:
    """Remove an item, its covers and their images."""
    from eyecatch.v1 import catalog_pb2

    with client(server, api_token) as c:
        answer = c.catalog.DeleteItem(catalog_pb2.DeleteItemRequest(item_id=item), timeout=10)
    if json:
        return print_json({"item_id": item, "covers_deleted": answer.covers_deleted})
    typer.echo(f"deleted {item} with {answer.covers_deleted} covers")
