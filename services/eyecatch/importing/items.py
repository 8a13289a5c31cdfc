"""A table of items with picture files -> the catalogue. A row is stored whole, or refused with its number and reason.

Rows are stored in batches, so an interrupted import leaves complete items; importing again adds the rest and changes nothing else.
Knows no command line and stores only as ports.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import starmap
from pathlib import Path

from icg.data import column_names

from eyecatch.core.catalog import Catalog, IncomingItem
from eyecatch.core.errors import InvalidInput
from eyecatch.core.limits import MAX_REFERENCES, Check
from eyecatch.core.ports import Blobs
from eyecatch.core.types import Item
from eyecatch.importing.report import ImportOptions, Progress, Report, silent
from eyecatch.importing.row_pictures import RowPictures, pictures_of
from eyecatch.importing.tables import Row, Table, check_id, optional, text_of

BATCH = 64
FIRST = 8
SHORT_S = 0.5
_TITLE_MISSING = frozenset(("nan", "NaN", "<NA>", "null", "NULL", "None", "NaT"))


@dataclass(frozen=True)
class ItemColumns:
    """Column names; "" for a common name. Each picture column gives a reference and a cover; None for those of common names.

    `file_name`: of the picture of each item if no column has it, for example "covers/{id}.jpg".
    """

    id: str = ""
    title: str = ""
    category: str = ""
    pictures: tuple[str, ...] | None = None
    file_name: str = ""

    def resolve(self, table: Table) -> "ItemColumns":
        """The names in `table`. Raises InvalidInput naming the table's columns if one is missing."""
        if self.file_name and "{id}" not in self.file_name:
            raise InvalidInput.of("picture_name", self.file_name, "a path with {id} in it, for example covers/{id}.jpg")
        if self.pictures is not None:
            pictures = tuple(table.column("pictures", name, column_names.PICTURES) for name in self.pictures)
            if len(pictures) > MAX_REFERENCES:
                raise InvalidInput.of("columns.pictures", len(pictures), f"at most {MAX_REFERENCES} columns")
        else:
            common = (table.column("pictures", "", (name,), required=False) for name in column_names.PICTURES)
            pictures = tuple(dict.fromkeys(name for name in common if name))[:MAX_REFERENCES]
        return ItemColumns(
            table.column("id", self.id, column_names.ITEM),
            table.column("title", self.title, column_names.TITLE),
            table.column("category", self.category, column_names.CATEGORY, required=False),
            pictures,
            self.file_name,
        )

    @property
    def words(self) -> str:
        """How resolved columns are understood."""
        sources = [*(self.pictures or ()), *([self.file_name] if self.file_name else [])]
        pictures = f"pictures from {', '.join(map(repr, sources))}" if sources else "no pictures"
        category = f"category from {self.category!r}" if self.category else "no category"
        return f"id from {self.id!r}, title from {self.title!r}, {category}, {pictures}"


async def import_items(
    table: Table,
    images_root: Path,
    catalog: Catalog,
    blobs: Blobs,
    columns: ItemColumns | None = None,
    progress: Progress = silent,
    options: ImportOptions | None = None,
    report: Report | None = None,
) -> Report:
    """Store every row of the table. Raises InvalidInput for the table as a whole, StoreFull, Unavailable."""
    names, options, report = (columns or ItemColumns()).resolve(table), options or ImportOptions(), report or Report()
    report.columns = names.words
    if not names.pictures and not names.file_name:
        hint = "; --column picture=NAME names one" if columns is None or columns.pictures is None else ""
        report.note(f"no picture column was found, so items are stored without pictures{hint}")
    earlier: set[str] = set()
    with ThreadPoolExecutor(cores(), "eyecatch-import") as decoders:
        loop = asyncio.get_running_loop()

        def decode(batch: list[Row], fraction: float) -> _Decoding:
            rows = [row for row in batch if not row.problem]
            results = [loop.run_in_executor(decoders, _read, row, names, images_root) for row in rows]
            return _Decoding(batch, asyncio.gather(*results), fraction)

        pace = _Pace()
        for decoding in _one_ahead(starmap(decode, _batches(table, pace))):
            if not report.rows:
                progress(0.0, report)  # the rows so far tell how many there are
            rows = list(report.readable(decoding.rows))
            ready: list[tuple[Row, _Reading]] = []
            for row, result in zip(rows, await decoding.results, strict=True):
                if reason := _reason(result, earlier, options.strict):
                    report.refuse(row.number, result.id, reason)
                    continue
                earlier.add(result.id)
                ready.append((row, result))
                for missing in result.pictures.missing:
                    report.warn(row.number, result.id, f"stored without this picture: {missing}")
                report.example(row, **result.example())
            await _store([result for _, result in ready], catalog, blobs, report, options.check)
            report.end_batch()
            pace.next()
            progress(decoding.fraction, report)
    return report.settle(table)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class _Decoding:
    """A batch whose pictures are decoded by other threads. `fraction`: of the table, after the batch."""

    rows: list[Row]
    results: "asyncio.Future[list[_Reading]]"
    fraction: float


@dataclass
class _Pace:
    """Rows of the next batch: few at first and of slow pictures, so that there is progress every second; many share a transaction."""

    size: int = FIRST
    began: float = field(default_factory=time.perf_counter)

    def next(self) -> None:
        """A batch is done."""
        seconds, self.began = time.perf_counter() - self.began, time.perf_counter()
        if seconds < SHORT_S:
            self.size = min(2 * self.size, BATCH)
        elif seconds > 2 * SHORT_S:
            self.size = max(self.size // 2, FIRST)


def _batches(table: Table, pace: _Pace) -> Iterator[tuple[list[Row], float]]:
    """Rows, and the fraction of the table after them."""
    before = 0.0
    for chunk in table.batches(BATCH):
        first = 0
        while first < len(chunk):
            rows = chunk[first : first + pace.size]
            first += len(rows)
            yield rows, before + (table.fraction - before) * first / len(chunk)
        before = table.fraction


def _one_ahead(decoding: Iterator[_Decoding]) -> Iterator[_Decoding]:
    """The batch after the current one is decoded while the current one is embedded and stored; no more, so that memory is bounded."""
    current = next(decoding, None)
    while current is not None:
        following = next(decoding, None)
        yield current
        current = following


@dataclass(frozen=True)
class _Reading:
    """What a row says. `reason`: why it is refused, "" if it is not."""

    id: str
    item: Item | None = None
    pictures: RowPictures = field(default_factory=RowPictures)
    reason: str = ""

    def example(self) -> dict[str, object]:
        item = self.item or Item("", "")
        pictures = [f"{picture.width} x {picture.height}" for picture in self.pictures.pictures]
        return {"id": item.id, "title": item.title, "category": item.category, "pictures": pictures}


def _reason(result: _Reading, earlier: set[str], strict: bool) -> str:
    if result.reason:
        return result.reason
    if strict and result.pictures.missing:
        return result.pictures.missing[0]
    return "the id is in an earlier row; allowed: each id once" if result.id in earlier else ""


async def _store(ready: Sequence[_Reading], catalog: Catalog, blobs: Blobs, report: Report, check: bool) -> None:
    if check:
        report.accepted += len(ready)
        return
    incoming = await asyncio.gather(*(_incoming(result, catalog) for result in ready))
    stored = await asyncio.gather(*(_is_stored(i, catalog, blobs) for i in incoming))
    changed = [i for i, same in zip(incoming, stored, strict=True) if not same]
    if changed:
        await catalog.upsert(changed)
    report.accepted += len(changed)
    report.unchanged += len(ready) - len(changed)


def _read(row: Row, columns: ItemColumns, root: Path) -> _Reading:
    """The item of a row with its decoded pictures, or the reason why the row is refused."""
    id = row.values.get(columns.id, "")
    try:
        item = Item(text_of(row, columns.id), text_of(row, columns.title), optional(text_of(row, columns.category)))
        check = Check()
        check.item("item", item)
        check_id(check, "item.id", item.id)
        if item.title in _TITLE_MISSING:
            check.refuse("item.title", item.title, "a title; programs write this for a missing one")
        check.done()
        name = columns.file_name.replace("{id}", item.id)
        return _Reading(id, item, pictures_of(row, columns.pictures or (), root, name))
    except InvalidInput as error:
        return _Reading(id, reason=str(error))


async def _incoming(result: _Reading, catalog: Catalog) -> IncomingItem:
    """An item that has pictures keeps all of them if one of its row is missing."""
    assert result.item is not None  # noqa: S101 (a row without an item is refused before)
    incoming = await catalog.known(IncomingItem(result.item, result.pictures.pictures))
    if result.pictures.missing and incoming.pictures:
        old = await catalog.store.item(result.id)
        if old is not None and old.references:
            return replace(incoming, pictures=())
    return incoming


async def _is_stored(incoming: IncomingItem, catalog: Catalog, blobs: Blobs) -> bool:
    """Whether the catalogue already has exactly this item (the same file has the same URI)."""
    old = await catalog.store.item(incoming.item.id)
    if old is None or (old.title, old.category) != (incoming.item.title, incoming.item.category):
        return False
    uris = tuple([await blobs.put(picture.data, "webp", picture.names[0]) for picture in incoming.pictures])
    return not uris or uris == old.references
