"""A table of covers with the caller's own cover ids -> covers of items that exist. Importing it again changes nothing."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from eyecatch.core.catalog import Catalog, IncomingCover, Picture
from eyecatch.core.errors import InvalidInput
from eyecatch.core.limits import Check
from eyecatch.core.ports import Blobs
from eyecatch.core.types import Item
from eyecatch.importing.report import Progress, Report, silent
from eyecatch.importing.tables import Row, Table
from eyecatch.pictures import file_inside, normalise

BATCH = 64


@dataclass(frozen=True)
class CoverColumns:
    """Column names; "" for a common name."""

    id: str = ""
    item: str = ""
    image: str = ""

    def resolve(self, table: Table) -> "CoverColumns":
        """The names in `table`. Raises InvalidInput naming the table's columns if one is missing."""
        return CoverColumns(
            table.column("id", self.id, ("cover_id", "coverId", "id")),
            table.column("item", self.item, ("item_id", "itemId", "item")),
            table.column("image", self.image, ("image", "cover", "picture", "path")),
        )


async def import_covers(
    table: Table,
    images_root: Path,
    catalog: Catalog,
    blobs: Blobs,
    columns: CoverColumns | None = None,
    progress: Progress = silent,
) -> Report:
    """Store every row of the table. Rows of unknown items or with a bad picture are refused with the reason."""
    names = (columns or CoverColumns()).resolve(table)
    report = Report()
    earlier: set[str] = set()
    for batch in table.batches(BATCH):
        ready: list[IncomingCover] = []
        for row in batch:
            id = row.values.get(names.id, "")
            try:
                cover = await _read(row, names, images_root, catalog)
                if id in earlier:
                    raise InvalidInput.of("cover.id", id, "each id once")
            except InvalidInput as error:
                report.refuse(row.number, id[:200], str(error))
                continue
            earlier.add(id)
            ready.append(cover)
        changed = [c for c in ready if not await _is_stored(c, catalog, blobs)]
        await catalog.add_covers(changed)
        report.accepted += len(changed)
        report.unchanged += len(ready) - len(changed)
        progress(table.fraction, report)
    return report


async def _read(row: Row, columns: CoverColumns, root: Path, catalog: Catalog) -> IncomingCover:
    if row.problem:
        raise InvalidInput.of("row", row.number, row.problem)
    id, item_id = row.values.get(columns.id, ""), row.values.get(columns.item, "")
    check = Check()
    check.id("cover.id", id)
    check.id("cover.item_id", item_id)
    check.done()
    item: Item | None = await catalog.store.item(item_id)
    if item is None:
        raise InvalidInput.of("cover.item_id", item_id, "an item of the catalogue")
    data = file_inside(root, row.values.get(columns.image, ""), columns.image)
    picture = await asyncio.to_thread(normalise, data, columns.image)
    return IncomingCover(id, item, Picture(picture.cover, picture.width, picture.height))


async def _is_stored(cover: IncomingCover, catalog: Catalog, blobs: Blobs) -> bool:
    old = await catalog.store.cover(cover.id)
    return old is not None and old.item_id == cover.item.id and old.uri == await blobs.put(cover.picture.data, "webp")
