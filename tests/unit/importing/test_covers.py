"""Importing covers with vectors of their own: kept, exported, and gone with the cover."""

from pathlib import Path

import numpy as np
import polars as pl
from eyecatch.core.types import Item
from eyecatch.exporting.catalogue import export_catalogue
from eyecatch.importing import Report, Table
from eyecatch.importing.covers import CoverColumns, import_covers

from tests.fakes import picture
from tests.unit.importing.conftest import Home


async def run(home: Home, folder: Path, lines: str, columns: CoverColumns | None = None) -> Report:
    await home.store.catalog.upsert_items([Item("a", "A"), Item("b", "B")])
    for colour in ("red", "blue"):
        (folder / f"{colour}.png").write_bytes(picture(colour))
    (folder / "covers.csv").write_text(lines)
    return await import_covers(
        Table(folder / "covers.csv"), folder, home.catalog, home.blobs, home.store.notes, columns
    )


async def test_a_covers_vector_is_kept_and_exported(home: Home, tmp_path: Path) -> None:
    lines = "cover_id,item_id,image,embedding\nc1,a,red.png,0.5|-2\nc2,b,blue.png,\n"
    report = await run(home, tmp_path, lines)
    assert (report.accepted, report.unchanged, report.refused) == (2, 0, [])
    again = await run(home, tmp_path, lines)
    assert (again.accepted, again.unchanged) == (0, 2)
    changed = await run(
        home, tmp_path, "cover_id,item_id,image,e1,e2\nc1,a,red.png,3,4\n", CoverColumns(embedding=("e1", "e2"))
    )
    assert (changed.accepted, changed.unchanged) == (1, 0)
    await run(home, tmp_path, "cover_id,item_id,image\nc1,a,blue.png\n")
    assert (await home.store.catalog.vectors(["c1"]))["c1"].tolist() == [3, 4], "another picture leaves the vector"
    await export_catalogue(home.store.catalog, home.blobs, tmp_path / "out")
    table = pl.read_parquet(tmp_path / "out" / "covers.parquet")
    assert dict(table.select("cover_id", "embedding").rows()) == {"c1": [3.0, 4.0], "c2": None}


async def test_bad_vectors_are_refused_with_their_row_and_nothing_of_it_is_stored(home: Home, tmp_path: Path) -> None:
    lines = "cover_id,item_id,image,embedding\nc1,a,red.png,1|2\nc2,a,red.png,1|2|3\nc3,a,red.png,x\nc4,a,red.png,0|0\nc5,a,red.png,1|nan\n"
    report = await run(home, tmp_path, lines)
    assert (report.accepted, [r.row for r in report.refused]) == (1, [2, 3, 4, 5])
    assert "got '3 numbers'; allowed: 2" in report.refused[0].reason
    assert [c.id for c in (await home.store.catalog.pools(["a"]))["a"]] == ["c1"]
    wider = await run(home, tmp_path, "cover_id,item_id,image,embedding\nc6,a,red.png,1|2|3\n")
    assert (wider.accepted, len(wider.refused)) == (0, 1)


async def test_a_table_without_vectors_exports_none(home: Home, tmp_path: Path) -> None:
    await run(home, tmp_path, "cover_id,item_id,image\nc1,a,red.png\n")
    await export_catalogue(home.store.catalog, home.blobs, tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out" / "covers.parquet").columns == ["cover_id", "item_id", "image"]
    assert not np.any(list(await home.store.catalog.vectors(["c1"])))
