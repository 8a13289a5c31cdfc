"""A table of covers with the caller's own cover ids -> covers of items that exist. Importing it again changes nothing."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from icg.data import column_names

from eyecatch.core.behaviour.vectors import COVER_WIDTH, claim_width, common_width
from eyecatch.core.catalog import Catalog, IncomingCover, Picture, with_known_names
from eyecatch.core.errors import InvalidInput
from eyecatch.core.limits import Check
from eyecatch.core.ports import Blobs, Notes
from eyecatch.core.types import Item, Vector
from eyecatch.importing.numbers import EMBEDDING, vector_of
from eyecatch.importing.report import ImportOptions, Progress, Report, silent
from eyecatch.importing.row_pictures import file_picture
from eyecatch.importing.tables import Row, Table, check_id, text_of

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
            table.column("id", self.id, column_names.COVER),
            table.column("item", self.item, column_names.COVER_ITEM),
            table.column("image", self.image, column_names.COVER_PICTURE),
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
    options: ImportOptions | None = None,
    report: Report | None = None,
) -> Report:
    """Store every row of the table. Rows of unknown items, with a bad picture or with a bad vector are refused with the reason.

    A cell without a vector leaves the cover the one it has. Raises InvalidInput for the table as a whole, StoreFull, Unavailable.
    """
    names, options, report = (columns or CoverColumns()).resolve(table), options or ImportOptions(), report or Report()
    report.columns = f"id from {names.id!r}, item from {names.item!r}, image from {names.image!r}"
    anything = not options.check or (await catalog.store.counts())[0] > 0
    if not anything:
        report.note("there are no items yet, so it was not checked whether those of the covers exist")
    earlier: set[str] = set()
    for batch in table.batches(BATCH):
        ready: list[IncomingCover] = []
        vectors: dict[str, Vector] = {}
        rows = list(report.readable(batch))
        width = await _width(rows, names, notes)
        for row in rows:
            id = row.values.get(names.id, "")
            try:
                cover = await _read(row, names, images_root, catalog if anything else None)
                if id in earlier:
                    raise InvalidInput.of("cover.id", id, "each id once")
                if len(values := _vector(row, names)):
                    check = Check()
                    check.vector("cover.embedding", values, width)
                    check.done()
                    vectors[id] = values
            except InvalidInput as error:
                report.refuse(row.number, id, str(error))
                continue
            earlier.add(id)
            ready.append(cover)
            size = f"{cover.picture.width} x {cover.picture.height}"
            report.example(row, id=id, item=cover.item.id, image=size, numbers=len(vectors.get(id, ())))
        if options.check:
            report.accepted += len(ready)
            report.end_batch()
            progress(table.fraction, report)
            continue
        stored = {cover.id for cover in ready if await _is_stored(cover, catalog, blobs)}
        await catalog.add_covers([cover for cover in ready if cover.id not in stored])
        if vectors:
            stored -= await _changed(vectors, catalog)
            await claim_width(notes, COVER_WIDTH, width)
            await catalog.store.put_vectors(vectors)
        report.accepted += len(ready) - len(stored)
        report.unchanged += len(stored)
        report.end_batch()
        progress(table.fraction, report)
    return report.settle(table)


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


async def _read(row: Row, columns: CoverColumns, root: Path, catalog: Catalog | None) -> IncomingCover:
    id, item_id = text_of(row, columns.id), text_of(row, columns.item)
    check = Check()
    check.id("cover.id", id)
    check.id("cover.item_id", item_id)
    check_id(check, "cover.id", id)
    check.done()
    item: Item | None = await catalog.store.item(item_id) if catalog else Item(item_id, item_id)
    if item is None:
        raise InvalidInput.of("cover.item_id", item_id, "an item of the catalogue")
    picture = await asyncio.to_thread(file_picture, root, text_of(row, columns.image), columns.image)
    stored = await catalog.store.cover(id) if catalog else None
    picture = await with_known_names(replace(picture, names=(picture.names[1],) * 2), [stored.uri] if stored else [])
    return IncomingCover(id, item, Picture(picture.cover, picture.width, picture.height, names=(picture.names[1],) * 2))


async def _is_stored(cover: IncomingCover, catalog: Catalog, blobs: Blobs) -> bool:
    old = await catalog.store.cover(cover.id)
    return (
        old is not None
        and old.item_id == cover.item.id
        and old.uri == await blobs.put(cover.picture.data, "webp", cover.picture.names[1])
    )
