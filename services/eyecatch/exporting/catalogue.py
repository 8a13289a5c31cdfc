"""A catalogue as tables and picture files, as `icg space fit` and the recipes read one. Knows no store."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from eyecatch.core.errors import NotFound
from eyecatch.core.ports import Blobs, CatalogStore
from eyecatch.core.types import Origin, Vector
from eyecatch.exporting.files import write

ITEMS, COVERS, PICTURES = "items.parquet", "covers.parquet", "pictures"
PAGE = 500


async def export_catalogue(
    catalog: CatalogStore, blobs: Blobs, out: Path, on_progress: Callable[[int], None] = lambda done: None
) -> dict[str, int]:
    """Write ITEMS, COVERS and PICTURES to the folder `out`; returns their numbers. Covers are those of the catalogue, not made ones.

    Covers that have a vector of their own have it in the column `embedding`, which is there if any cover has one.
    A picture that the state has lost is left out with its cover, and counted. Files that are there are not written again.
    """
    (out / PICTURES).mkdir(parents=True, exist_ok=True)
    items, covers, lost, token = list[tuple[str, str, str]](), list[tuple[str, str, str]](), 0, ""
    vectors: dict[str, Vector] = {}
    while True:
        page = await catalog.items(PAGE, token)
        pools = await catalog.pools([item.id for item in page.rows])
        vectors |= await catalog.vectors([cover.id for pool in pools.values() for cover in pool])
        for item in page.rows:
            items.append((item.id, item.title, item.category))
            for cover in pools.get(item.id, ()):
                if cover.provenance.origin is not Origin.CATALOGUE:
                    continue
                path = f"{PICTURES}/{Path(cover.uri.removeprefix('blob:')).name}"
                try:
                    if not (out / path).exists():
                        (out / path).write_bytes(await blobs.get(cover.uri))
                    covers.append((cover.id, item.id, path))
                except NotFound:
                    lost += 1
        on_progress(len(items))
        token = page.next_token
        if not token:
            break
    write(pl.DataFrame(items, schema=["item_id", "title", "category"], orient="row"), out / ITEMS)
    table = pl.DataFrame(covers, schema=["cover_id", "item_id", "image"], orient="row")
    if vectors:
        own = [vectors.get(id) for id, _, _ in covers]
        numbers = pl.Series("embedding", [None if v is None else v.tolist() for v in own], pl.List(pl.Float32))
        table = table.with_columns(numbers)
    write(table, out / COVERS)
    return {"items": len(items), "covers": len(covers), "lost": lost}
