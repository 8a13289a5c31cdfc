"""A table of covers with the caller's own cover ids -> covers of items that exist. Importing it again changes nothing."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eyecatch.core.behaviour.vectors import COVER_WIDTH, claim_width, common_width
from eyecatch.core.catalog import Catalog, IncomingCover, Picture
from eyecatch.core.errors import InvalidInput
from eyecatch.core.limits import Check
from eyecatch.core.ports import Blobs, Notes
from eyecatch.core.types import Item, Vector
from eyecatch.importing.numbers import EMBEDDING, vector_of
from eyecatch.importing.report import Progress, Report, silent
from eyecatch.importing.tables import Row, Table
from eyecatch.pictures import file_inside, normalise

BATCH = 64


@dataclass(frozen=True)
class CoverColumns:
    """Column names; "" for a common name. `embedding`: of the cover's own vector, several are joined; () for a common name, or none."""

    id: str = ""
    item: str = ""
    image: str = ""
    embedding: tuple[str, ...] = ()

    def resolve(self, table: Table) -> "CoverColumns":
        """The names in `table`. Raises InvalidInput naming the table's columns if one is missing."""
        return CoverColumns(
            table.column("id", self.id, ("cover_id", "coverId", "id")),
            table.column("item", self.item, ("item_id", "itemId", "item")),
            table.column("image", self.image, ("image", "cover", "picture", "path")),
            tuple(n for n in (table.column("embedding", n, EMBEDDING, bool(n)) for n in self.embedding or ("",)) if n),
        )


async def import_covers(
    table: Table,
    images_root: Path,
    catalog: Catalog,
    blobs: Blobs,
    notes: Notes,
    columns: CoverColumns | None = None,
    progress: Progress = silent,
) -> Report:
    """Store every row of the table. Rows of unknown items, with a bad picture or with a bad vector are refused with the reason.

    A cell without a vector leaves the cover the one it has.
    """
    names = (columns or CoverColumns()).resolve(table)
    report = Report()
    earlier: set[str] = set()
    for batch in table.batches(BATCH):
        ready: list[IncomingCover] = []
        vectors: dict[str, Vector] = {}
        width = await _width(batch, names, notes)
        for row in batch:
            id = row.values.get(names.id, "")
            try:
                cover = await _read(row, names, images_root, catalog)
                if id in earlier:
                    raise InvalidInput.of("cover.id", id, "each id once")
                if len(values := _vector(row, names)):
                    check = Check()
                    check.vector("cover.embedding", values, width)
                    check.done()
                    vectors[id] = values
            except InvalidInput as error:
                report.refuse(row.number, id[:200], str(error))
                continue
            earlier.add(id)
            ready.append(cover)
        stored = {cover.id for cover in ready if await _is_stored(cover, catalog, blobs)}
        await catalog.add_covers([cover for cover in ready if cover.id not in stored])
        if vectors:
            stored -= await _changed(vectors, catalog)
            await claim_width(notes, COVER_WIDTH, width)
            await catalog.store.put_vectors(vectors)
        report.accepted += len(ready) - len(stored)
        report.unchanged += len(stored)
        progress(table.fraction, report)
    return report


async def _width(batch: list[Row], columns: CoverColumns, notes: Notes) -> int:
    vectors = []
    for row in batch:
        with suppress(InvalidInput):
            vectors.append(_vector(row, columns))
    return await common_width(notes, COVER_WIDTH, vectors)


def _vector(row: Row, columns: CoverColumns) -> Vector:
    return vector_of(row, columns.embedding) if columns.embedding else np.zeros(0, np.float32)


async def _changed(vectors: dict[str, Vector], catalog: Catalog) -> set[str]:
    before = await catalog.store.vectors(list(vectors))
    return {id for id, values in vectors.items() if id not in before or not np.array_equal(before[id], values)}


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
