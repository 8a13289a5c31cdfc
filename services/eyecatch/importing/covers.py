"""A table of covers with the caller's own cover ids -> covers of items that exist. Once more changes nothing."""

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
    """Column names; empty = look for a common name."""

    id: str = ""
    item: str = ""
    image: str = ""

    def found_in(self, table: Table) -> "CoverColumns":
        """Raises InvalidInput naming the table's columns when one is missing."""
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
    """Store every row of the table; a row of an unknown item or with a bad picture is refused with its reason."""
    named = (columns or CoverColumns()).found_in(table)
    report = Report()
    seen: set[str] = set()
    for batch in table.batches(BATCH):
        ready: list[IncomingCover] = []
        for row in batch:
            id = row.values.get(named.id, "")
            try:
                own = await _own(row, named, images_root, catalog)
                if id in seen:
                    raise InvalidInput.of("cover.id", id, "each id once")
            except InvalidInput as error:
                report.refuse(row.number, id[:200], str(error))
                continue
            seen.add(id)
            ready.append(own)
        changed = [o for o in ready if not await _stored(o, catalog, blobs)]
        await catalog.add_covers(changed)
        report.accepted += len(changed)
        report.unchanged += len(ready) - len(changed)
        progress(table.fraction, report)
    return report


async def _own(row: Row, columns: CoverColumns, root: Path, catalog: Catalog) -> IncomingCover:
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
    normal, (width, height) = await asyncio.to_thread(normalise, data, columns.image)
    return IncomingCover(id, item, Picture(normal, width, height))


async def _stored(own: IncomingCover, catalog: Catalog, blobs: Blobs) -> bool:
    old = await catalog.store.cover(own.id)
    return old is not None and old.item_id == own.item.id and old.uri == await blobs.put(own.picture.data, "webp")
