"""A table of items with picture files -> the catalogue. A row is stored whole, or refused with its number and reason.

Rows are stored in batches, so an interrupted import leaves complete items; importing again adds the rest and changes nothing else.
Knows no command line and stores only as ports.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from eyecatch.core.catalog import Catalog, IncomingItem, Picture
from eyecatch.core.errors import InvalidInput
from eyecatch.core.limits import MAX_REFERENCES, Check
from eyecatch.core.ports import Blobs
from eyecatch.core.types import Item
from eyecatch.importing.report import Progress, Report, silent
from eyecatch.importing.tables import Row, Table
from eyecatch.pictures import file_inside, normalise

BATCH = 64
_ID = ("item_id", "id", "itemId", "movieId", "product_id", "sku")
_TITLE = ("title", "name", "item_title")
_CATEGORY = ("category", "categories", "genres", "genre")
_PICTURES = (
    *("image", "picture", "cover", "poster", "image_path", "alternate_cover", "alternate_image"),
    *(f"image_{n}" for n in range(2, 9)),
)


@dataclass(frozen=True)
class ItemColumns:
    """Column names; "" for a common name. Each picture column gives a reference and a cover."""

    id: str = ""
    title: str = ""
    category: str = ""
    pictures: tuple[str, ...] = ()

    def resolve(self, table: Table) -> "ItemColumns":
        """The names in `table`. Raises InvalidInput naming the table's columns if one is missing."""
        if self.pictures:
            pictures = tuple(table.column("pictures", name, _PICTURES) for name in self.pictures)
        else:
            common = (table.column("pictures", "", (name,), required=False) for name in _PICTURES)
            pictures = tuple(name for name in common if name)
        if len(pictures) > MAX_REFERENCES:
            raise InvalidInput.of("columns.pictures", len(pictures), f"at most {MAX_REFERENCES} columns")
        return ItemColumns(
            table.column("id", self.id, _ID),
            table.column("title", self.title, _TITLE),
            table.column("category", self.category, _CATEGORY, required=False),
            pictures,
        )


async def import_items(
    table: Table,
    images_root: Path,
    catalog: Catalog,
    blobs: Blobs,
    columns: ItemColumns | None = None,
    progress: Progress = silent,
) -> Report:
    """Store every row of the table. Raises InvalidInput for the table as a whole, StoreFull, Unavailable."""
    names = (columns or ItemColumns()).resolve(table)
    report = Report()
    earlier: set[str] = set()
    with ThreadPoolExecutor(2, "eyecatch-import") as decoders:
        for batch in table.batches(BATCH):
            loop = asyncio.get_running_loop()
            read = [loop.run_in_executor(decoders, _read, row, names, images_root) for row in batch]
            ready: list[IncomingItem] = []
            for row, result in zip(batch, await asyncio.gather(*read), strict=True):
                id = row.values.get(names.id, "")
                if isinstance(result, str):
                    report.refuse(row.number, id[:200], result)
                elif id in earlier:
                    report.refuse(row.number, id, "the id is in an earlier row; allowed: each id once")
                else:
                    earlier.add(id)
                    ready.append(result)
            stored = await asyncio.gather(*(_is_stored(i, catalog, blobs) for i in ready))
            changed = [i for i, same in zip(ready, stored, strict=True) if not same]
            if changed:
                await catalog.upsert(changed)
            report.accepted += len(changed)
            report.unchanged += len(ready) - len(changed)
            progress(table.fraction, report)
    return report


def _read(row: Row, columns: ItemColumns, root: Path) -> IncomingItem | str:
    """The item of a row with its decoded pictures, or the reason why the row is refused."""
    if row.problem:
        return row.problem
    value = row.values
    item = Item(value.get(columns.id, ""), value.get(columns.title, ""), value.get(columns.category, ""))
    check = Check()
    check.item("item", item)
    try:
        check.done()
        return IncomingItem(item, tuple(_pictures(value, columns.pictures, root)))
    except InvalidInput as error:
        return str(error)


def _pictures(values: dict[str, str], columns: Sequence[str], root: Path) -> list[Picture]:
    """The pictures of a row; empty cells are skipped, and the same picture in two columns counts once."""
    pictures: dict[bytes, Picture] = {}
    for column in columns:
        if path := values.get(column, ""):
            picture = normalise(file_inside(root, path, column), column)
            pictures.setdefault(picture.data, picture)
    return list(pictures.values())


async def _is_stored(incoming: IncomingItem, catalog: Catalog, blobs: Blobs) -> bool:
    """Whether the catalogue already has exactly this item (the same bytes have the same URI)."""
    old = await catalog.store.item(incoming.item.id)
    if old is None or (old.title, old.category) != (incoming.item.title, incoming.item.category):
        return False
    uris = tuple([await blobs.put(picture.data, "webp") for picture in incoming.pictures])
    return not uris or uris == old.references
