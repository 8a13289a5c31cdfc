"""Importing items: whole rows or none, the same again changes nothing, no way out of the pictures' folder."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from eyecatch.core.errors import InvalidInput, StoreFull
from eyecatch.core.types import Origin
from eyecatch.importing import ImportOptions, ItemColumns, Report, Table, import_items
from eyecatch.pictures import normalise
from eyecatch.stores.sqlite import SqliteStore

from tests.unit.importing.conftest import Home


def csv(folder: Path, *lines: str, name: str = "items.csv") -> Table:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Table(path)


async def test_rows_become_items_with_covers(home: Home, shop: Path) -> None:
    table = csv(
        shop,
        "movieId,title,genres,cover,alternate_cover",
        '1,"Toys, a story",Comedy|Drama,pictures/1.png,pictures/2.png',
        "2,Überraschung 🎬,,pictures/3.png,",
        "3,No picture,,,",
        "4,Twice the same,,pictures/1.png,pictures/1.png",
    )
    report = await import_items(table, shop, home.catalog, home.blobs)
    assert (report.accepted, report.unchanged, report.refused) == (4, 0, [])
    item = await home.store.catalog.item("1")
    assert item is not None
    assert (item.title, item.category, len(item.references)) == ("Toys, a story", "Comedy|Drama", 2)
    pools = await home.store.catalog.pools(["1", "2", "3", "4"])
    assert [len(pools[id]) for id in "1234"] == [2, 1, 0, 1]
    first = pools["1"][0]
    assert (first.provenance.origin, first.width, first.height) == (Origin.CATALOGUE, 32, 24)
    assert first.rewards["brightness"] > 0
    assert {c.uri for c in pools["1"]} == set(item.references)
    assert await home.blobs.get(first.uri)


async def test_numbered_columns_give_more_references_in_their_order(home: Home, shop: Path) -> None:
    names = ["image", *(f"image_{n}" for n in range(2, 9))]
    paths = [f"pictures/{n}.png" for n in (3, 1, 2, 0, 7, 5, 6, 4)]
    table = csv(shop, ",".join(["id", "title", *names]), ",".join(["1", "Eight sides", *paths]))
    assert (await import_items(table, shop, home.catalog, home.blobs)).accepted == 1
    item = await home.store.catalog.item("1")
    assert item is not None
    expected = [normalise((shop / path).read_bytes(), "").names[0] for path in paths]
    assert list(item.references) == [f"blob:{name}.webp" for name in expected]
    assert len((await home.store.catalog.pools(["1"]))["1"]) == 8, "each is a cover too"


async def test_the_same_import_again_changes_nothing(home: Home, shop: Path) -> None:
    lines = ["id,title,image", *(f"i{n},Item {n},pictures/{n % 10}.png" for n in range(150))]
    calls: list[tuple[float, int]] = []

    def note(fraction: float, report: Report) -> None:
        calls.append((fraction, report.rows))

    report = await import_items(csv(shop, *lines), shop, home.catalog, home.blobs, progress=note)
    assert (report.accepted, calls[:2], calls[-1]) == (
        150,
        [(0.0, 0), (pytest.approx(8 / 150, abs=0.02), 8)],
        (1.0, 150),
    )
    assert calls == sorted(calls)
    scored = list(home.generator.batches)
    assert (scored[0], sum(scored)) == (8, 150)
    assert max(scored) <= 64
    before = (await home.store.catalog.items(500)).rows
    again = await import_items(csv(shop, *lines), shop, home.catalog, home.blobs)
    assert (again.accepted, again.unchanged, again.refused) == (0, 150, [])
    assert (await home.store.catalog.items(500)).rows == before
    assert home.generator.batches == scored
    lines[3] = "i2,Renamed,pictures/2.png"
    changed = await import_items(csv(shop, *lines), shop, home.catalog, home.blobs)
    assert (changed.accepted, changed.unchanged) == (1, 149)
    assert await home.store.catalog.counts() == (150, 150)


async def test_bad_rows_are_refused_with_number_and_reason_and_good_ones_stay(
    home: Home, shop: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.png").write_bytes((shop / "pictures" / "1.png").read_bytes())
    (shop / "link.png").symlink_to(tmp_path / "secret.png")
    (shop / "broken.png").write_bytes((shop / "pictures" / "1.png").read_bytes()[:60])
    os.mkfifo(shop / "pipe.png")
    table = csv(
        shop,
        "id,title,image",
        "ok,Fine,pictures/1.png",
        ",No id,pictures/1.png",
        "t,,pictures/1.png",
        "u,Up,../secret.png",
        "l,Link,link.png",
        f"abs,Absolute,{tmp_path}/secret.png",
        "url,Address,https://example.org/x.png",
        "gone,Absent,pictures/99.png",
        "dir,Folder,pictures",
        "pipe,Pipe,pipe.png",
        "broken,Broken,broken.png",
        "ok,Again,pictures/2.png",
        "short,Cells",
        "bidi,evil\u202etitle,pictures/1.png",
        "last,Fine too,pictures/2.png",
    )
    file = io.StringIO()
    report = await import_items(table, shop, home.catalog, home.blobs, report=Report(file=file))
    assert report.accepted == 4
    assert [(r.row, r.id) for r in report.warnings] == [(7, "url"), (8, "gone")]
    assert [(r.row, r.id) for r in report.refused] == [
        (2, ""),
        (3, "t"),
        (4, "u"),
        (5, "l"),
        (6, "abs"),
        (9, "dir"),
        (10, "pipe"),
        (11, "broken"),
        (12, "ok"),
        (13, ""),
        (14, "bidi"),
    ]
    reasons = {r.row: r.reason for r in report.refused}
    assert "item.title" in reasons[3]
    for row in (4, 5, 6, 9, 10):
        assert "inside the pictures' folder" in reasons[row]
    assert "a complete picture" in reasons[11]
    assert "each id once" in reasons[12]
    assert "2 cells; allowed: 3" in reasons[13]
    assert [i.id for i in (await home.store.catalog.items(10)).rows] == ["gone", "last", "ok", "url"]
    assert [json.loads(line)["row"] for line in file.getvalue().splitlines()] == list(reasons)
    assert json.loads(file.getvalue().splitlines()[2]) == {"row": 4, "id": "u", "reason": reasons[4]}


async def test_a_missing_picture_is_a_warning_or_with_strict_a_refusal(home: Home, shop: Path) -> None:
    lines = ["id,title,image,picture", "1,Both,pictures/1.png,pictures/2.png", "2,One,pictures/1.png,pictures/77.png"]
    report = await import_items(csv(shop, *lines), shop, home.catalog, home.blobs)
    assert (report.accepted, report.refused, [w.row for w in report.warnings]) == (2, [], [2])
    assert "picture: got 'pictures/77.png', no such file in" in report.warnings[0].reason
    strict = await import_items(csv(shop, *lines), shop, home.catalog, home.blobs, options=ImportOptions(strict=True))
    assert (strict.unchanged, [r.row for r in strict.refused], strict.warnings) == (1, [2], [])


async def test_an_item_keeps_its_pictures_if_one_of_them_is_missing_later(home: Home, shop: Path) -> None:
    lines = ["id,title,image,picture", "1,Both,pictures/1.png,pictures/2.png"]
    await import_items(csv(shop, *lines), shop, home.catalog, home.blobs)
    (shop / "pictures" / "2.png").unlink()
    report = await import_items(csv(shop, *lines), shop, home.catalog, home.blobs)
    assert (report.unchanged, report.warned) == (1, 1)
    assert len((await home.store.catalog.pools(["1"]))["1"]) == 2


async def test_columns_of_merchants_feeds_are_found(home: Home, shop: Path) -> None:
    for id, header in (
        ("a", "ID;Title;Image Link;Product Type"),
        ("b", "sku;name;mainImageUrl;google product category"),
    ):
        report = await import_items(
            csv(shop, header, f"{id};Pan;pictures/1.png;Kitchen"), shop, home.catalog, home.blobs
        )
        item = await home.store.catalog.item(id)
        assert item is not None
        assert (report.accepted, item.category, len(item.references)) == (1, "Kitchen", 1)


async def test_a_cell_may_name_several_pictures(home: Home, shop: Path) -> None:
    (shop / "a, b.png").write_bytes((shop / "pictures" / "3.png").read_bytes())
    rows = [{"id": "1", "title": "T", "images": ["pictures/1.png", "pictures/2.png"]}]
    rows += [
        {"id": "2", "title": "T", "images": "pictures/1.png, pictures/2.png"},
        {"id": "3", "title": "T", "images": "a, b.png"},
    ]  # type: ignore[list-item]
    (shop / "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = await import_items(Table(shop / "items.jsonl"), shop, home.catalog, home.blobs)
    pools = await home.store.catalog.pools(["1", "2", "3"])
    assert (report.accepted, [len(pools[id]) for id in "123"]) == (3, [2, 2, 1])


async def test_pictures_may_be_named_by_the_items_id(home: Home, shop: Path) -> None:
    columns = ItemColumns(file_name="pictures/{id}.png")
    report = await import_items(
        csv(shop, "id,title", "1,One", "x,Absent", "../secret,Out"), shop, home.catalog, home.blobs, columns
    )
    assert (report.accepted, [w.row for w in report.warnings], [r.row for r in report.refused]) == (3, [2, 3], [])
    assert len((await home.store.catalog.pools(["1"]))["1"]) == 1
    with pytest.raises(InvalidInput, match=r"picture_name: got 'pictures'; allowed: a path with \{id\} in it"):
        await import_items(
            csv(shop, "id,title", "1,One"), shop, home.catalog, home.blobs, ItemColumns(file_name="pictures")
        )


async def test_a_table_without_a_picture_column_says_so(home: Home, shop: Path) -> None:
    report = await import_items(csv(shop, "id,title,photo", "1,One,pictures/1.png"), shop, home.catalog, home.blobs)
    assert [note for note in report.notes if note.startswith("no picture column was found")]


async def test_what_programs_write_for_a_missing_value_is_none(home: Home, shop: Path) -> None:
    lines = [
        "id,title,category,image",
        "1,Pan,NaN,nan",
        "2,nan,x,",
        "nan,Pan,x,",
        "1.23457E+12,Pan,x,",
        "5,\\N,x,",
        "6,Nan bread,\\N,\\N",
    ]
    report = await import_items(csv(shop, *lines), shop, home.catalog, home.blobs)
    assert (report.accepted, [r.row for r in report.refused], report.warned) == (2, [2, 3, 4, 5], 0)
    item = await home.store.catalog.item("1")
    assert item is not None
    assert (item.category, item.references) == ("", ())


async def test_objects_are_refused_with_their_row_and_column(home: Home, shop: Path) -> None:
    rows = [
        '{"id": 1, "title": {"en": "a"}}',
        '{"id": 2, "title": "b", "category": ["x", "y"]}',
        '{"id": {"$oid": "1"}, "title": "c"}',
    ]
    rows += [
        '{"id": 4, "title": "d", "category": {"name": "x"}}',
        '{"id": 5, "title": "e", "other": {"a": 1}}',
        '{"id": 6, "title": true}',
    ]
    (shop / "items.jsonl").write_text("\n".join(rows))
    report = await import_items(Table(shop / "items.jsonl"), shop, home.catalog, home.blobs)
    assert [(r.row, r.reason.split(":")[0]) for r in report.refused] == [
        (1, "title"),
        (3, "id"),
        (4, "category"),
        (6, "title"),
    ]
    item = await home.store.catalog.item("2")
    assert item is not None
    assert item.category == "x|y"


async def test_a_check_reads_everything_and_stores_nothing(home: Home, shop: Path) -> None:
    lines = ["id,title,image", *(f"i{n},Item {n},pictures/{n}.png" for n in range(12)), "i0,Again,", "x,,"]
    report = await import_items(csv(shop, *lines), shop, home.catalog, home.blobs, options=ImportOptions(check=True))
    assert (report.accepted, report.refusals, report.warned, len(report.examples)) == (12, 2, 2, 10)
    assert report.examples[1] == {"row": 2, "id": "i1", "title": "Item 1", "category": "", "pictures": ["32 x 24"]}
    assert await home.store.catalog.counts() == (0, 0)
    assert home.generator.batches == []


async def test_parquet_and_json_lines_say_the_same_as_csv(home: Home, shop: Path) -> None:
    rows = [{"id": n, "title": f"T{n}", "genres": ["a", "b"], "image": f"pictures/{n}.png"} for n in range(5)]
    pl.DataFrame(rows).write_parquet(shop / "items.parquet")
    (shop / "items.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n[1]\n{broken\n")
    report = await import_items(Table(shop / "items.parquet"), shop, home.catalog, home.blobs)
    assert (report.accepted, report.refused) == (5, [])
    again = await import_items(Table(shop / "items.jsonl"), shop, home.catalog, home.blobs)
    assert (again.accepted, again.unchanged, [r.row for r in again.refused]) == (0, 5, [6, 7])
    item = await home.store.catalog.item("3")
    assert item is not None
    assert (item.title, item.category) == ("T3", "a|b")


async def test_a_zero_byte_is_damage_of_its_row_alone(home: Home, shop: Path) -> None:
    rows = b"".join(b"%d,Title %d,x\n" % (n, n) for n in range(300))
    rows = rows.replace(b"150,Title", b"150,Ti\0tle").replace(b"\n20,Title 20,x", b"\n20,Title 20,x\0")
    (shop / "items.csv").write_bytes(b"id,title,other\n" + rows)
    report = await import_items(Table(shop / "items.csv"), shop, home.catalog, home.blobs)
    assert (report.accepted, [r.row for r in report.refused]) == (299, [151])


async def test_columns_can_be_named_and_missing_ones_are_named(home: Home, shop: Path) -> None:
    table = csv(shop, "key,label,pic", "a,A,pictures/1.png")
    with pytest.raises(InvalidInput, match=r"columns\.id.*one of the columns of items.csv: key, label, pic"):
        await import_items(table, shop, home.catalog, home.blobs)
    with pytest.raises(InvalidInput, match=r"columns\.title: got 'tittle'"):
        await import_items(table, shop, home.catalog, home.blobs, ItemColumns("key", "tittle"))
    report = await import_items(table, shop, home.catalog, home.blobs, ItemColumns("key", "label", pictures=("pic",)))
    assert report.accepted == 1


def test_what_is_no_table_is_refused_as_bad_input(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput, match=r"file: got .*items.csv'; allowed: a file or folder that exists; there is no such file"
    ) as e:
        Table(tmp_path / "items.csv")
    assert e.value.violations[0].field == "file"


async def test_a_full_disk_ends_the_import_and_running_it_again_goes_on(shop: Path, home: Home, tmp_path: Path) -> None:
    lines = ["id,title,image", *(f"i{n},{'long ' * 90}{n},pictures/{n % 10}.png" for n in range(400))]
    home.store.close()
    store = SqliteStore.open(tmp_path / "small", max_bytes=250_000)
    home.catalog.store = store.catalog
    with pytest.raises(StoreFull):
        await import_items(csv(shop, *lines), shop, home.catalog, home.blobs)
    items, covers = await store.catalog.counts()
    assert items == covers
    assert 0 < items < 400
    store.close()
    store = SqliteStore.open(tmp_path / "small")
    home.catalog.store = store.catalog
    report = await import_items(csv(shop, *lines), shop, home.catalog, home.blobs)
    assert (report.accepted, report.unchanged) == (400 - items, items)
    assert await store.catalog.counts() == (400, 400)
    store.close()


_IMPORT = """
import asyncio, sys
from pathlib import Path
from eyecatch.core.catalog import Catalog
from eyecatch.importing import Table, import_items
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.index import FaissIndex
from eyecatch.stores.sqlite import SqliteStore
from tests.unit.importing.fakes import HistogramGenerator

data, shop = map(Path, sys.argv[1:])
store = SqliteStore.open(data)
blobs = FsspecBlobs(str(data / "blobs"))
catalog = Catalog(store.catalog, blobs, HistogramGenerator(), FaissIndex())
say = lambda fraction, report: print(report.rows, flush=True)
asyncio.run(import_items(Table(shop / "items.csv"), shop, catalog, blobs, progress=say))
"""


async def test_an_import_killed_half_way_leaves_whole_items_and_goes_on(home: Home, shop: Path) -> None:
    home.store.close()
    lines = [
        "id,title,image,picture",
        *(f"i{n},Item {n},pictures/{n % 10}.png,pictures/{n % 7}.png" for n in range(3000)),
    ]
    csv(shop, *lines)
    data = shop.parent / "data"
    with subprocess.Popen(  # noqa: ASYNC220 (nothing else runs here)
        [sys.executable, "-c", _IMPORT, str(data), str(shop)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    ) as child:
        assert child.stdout is not None
        reported = [int(child.stdout.readline()) for _ in range(3)][-1]
        os.kill(child.pid, signal.SIGKILL)
    store = SqliteStore.open(data)
    items = (await store.catalog.items(5000)).rows
    assert reported <= len(items) < 3000
    pools = await store.catalog.pools([i.id for i in items])
    assert all({c.uri for c in pools[i.id]} == set(i.references) for i in items)
    for uri in {uri for i in items for uri in i.references}:
        assert await home.blobs.get(uri)
    store.close()
