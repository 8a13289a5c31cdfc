"""Importing items: whole rows or none, the same again changes nothing, no way out of the pictures' folder."""

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
from eyecatch.importing import ItemColumns, Report, Table, import_items
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
    expected = [await home.blobs.put(normalise((shop / path).read_bytes(), "").data, "webp") for path in paths]
    assert list(item.references) == expected
    assert len((await home.store.catalog.pools(["1"]))["1"]) == 8, "each is a cover too"


async def test_the_same_import_again_changes_nothing(home: Home, shop: Path) -> None:
    lines = ["id,title,image", *(f"i{n},Item {n},pictures/{n % 10}.png" for n in range(150))]
    calls: list[tuple[float, int]] = []

    def note(fraction: float, report: Report) -> None:
        calls.append((fraction, report.rows))

    report = await import_items(csv(shop, *lines), shop, home.catalog, home.blobs, progress=note)
    assert (report.accepted, [rows for _, rows in calls]) == (150, [64, 128, 150])
    assert calls[0][0] < calls[1][0] < calls[2][0] == 1.0
    assert home.generator.batches == [64, 64, 22]
    before = (await home.store.catalog.items(500)).rows
    again = await import_items(csv(shop, *lines), shop, home.catalog, home.blobs)
    assert (again.accepted, again.unchanged, again.refused) == (0, 150, [])
    assert (await home.store.catalog.items(500)).rows == before
    assert home.generator.batches == [64, 64, 22]
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
    report = await import_items(table, shop, home.catalog, home.blobs)
    assert report.accepted == 2
    assert [(r.row, r.id) for r in report.refused] == [
        (2, ""),
        (3, "t"),
        (4, "u"),
        (5, "l"),
        (6, "abs"),
        (7, "url"),
        (8, "gone"),
        (9, "dir"),
        (10, "pipe"),
        (11, "broken"),
        (12, "ok"),
        (13, ""),
        (14, "bidi"),
    ]
    reasons = {r.row: r.reason for r in report.refused}
    assert "item.title" in reasons[3]
    for row in range(4, 11):
        assert "inside the pictures' folder" in reasons[row]
    assert "a complete picture" in reasons[11]
    assert "each id once" in reasons[12]
    assert "2 cells; allowed: 3" in reasons[13]
    assert [i.id for i in (await home.store.catalog.items(10)).rows] == ["last", "ok"]
    report.write_refusals(tmp_path / "refused.jsonl")
    lines = (tmp_path / "refused.jsonl").read_text().splitlines()
    assert json.loads(lines[2]) == {"row": 4, "id": "u", "reason": reasons[4]}


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


async def test_columns_can_be_named_and_missing_ones_are_named(home: Home, shop: Path) -> None:
    table = csv(shop, "key,label,pic", "a,A,pictures/1.png")
    with pytest.raises(InvalidInput, match=r"columns\.id.*one of the columns of items.csv: key, label, pic"):
        await import_items(table, shop, home.catalog, home.blobs)
    with pytest.raises(InvalidInput, match=r"columns\.title: got 'tittle'"):
        await import_items(table, shop, home.catalog, home.blobs, ItemColumns("key", "tittle"))
    report = await import_items(table, shop, home.catalog, home.blobs, ItemColumns("key", "label", pictures=("pic",)))
    assert report.accepted == 1


def test_what_is_no_table_is_refused_as_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"file: got 'items.txt'; allowed: a name ending in") as refused:
        Table(tmp_path / "items.txt")
    assert refused.value.violations[0].field == "file"


async def test_a_full_disk_ends_the_import_and_running_it_again_goes_on(shop: Path, home: Home, tmp_path: Path) -> None:
    lines = ["id,title,image", *(f"i{n},{'long ' * 90}{n},pictures/{n % 10}.png" for n in range(400))]
    home.store.close()
    store = SqliteStore.open(tmp_path / "small", max_bytes=250_000)
    home.catalog.store = store.catalog
    with pytest.raises(StoreFull):
        await import_items(csv(shop, *lines), shop, home.catalog, home.blobs)
    items, covers = await store.catalog.counts()
    assert items == covers
    assert items % 64 == 0
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
