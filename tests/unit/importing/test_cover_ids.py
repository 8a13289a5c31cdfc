"""A cover keeps its id: whatever encodes the picture, and in a store that was written when ids came from encoded bytes."""

import io
from pathlib import Path

import pytest
from eyecatch import pictures
from eyecatch.core.catalog import IncomingCover, IncomingItem, Picture
from eyecatch.core.types import Item
from eyecatch.importing import Table, import_items
from eyecatch.importing.covers import import_covers
from icg.pictures import decode, over_white
from PIL import Image

from tests.unit.importing.conftest import Home

ROWS = "id,title,image,picture\n1,Both,solid.png,cut.png\n"


def as_before(path: Path) -> Picture:
    """A picture as it was stored: by WebP's method 4, under the digests of the bytes."""

    def webp(image: Image.Image, **options: bool) -> bytes:
        out = io.BytesIO()
        image.save(out, "WEBP", quality=90, method=4, **options)
        return out.getvalue()

    image = decode(path.read_bytes(), mode="", longest=1024)
    if image.mode == "RGB":
        return Picture(webp(image), *image.size)
    return Picture(webp(image, lossless=True, exact=True), *image.size, opaque=webp(over_white(image)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """solid.png without, cut.png with transparent pixels, and items.csv with an item of both."""
    noise = Image.effect_noise((64, 48), 60).convert("RGB")
    noise.save(tmp_path / "solid.png")
    noise.putalpha(Image.linear_gradient("L").resize((64, 48)))
    noise.save(tmp_path / "cut.png")
    (tmp_path / "items.csv").write_text(ROWS)
    return tmp_path


async def ids(home: Home) -> set[str]:
    return {cover.id for cover in (await home.store.catalog.pools(["1"]))["1"]}


async def test_another_encoder_gives_the_same_covers(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await import_items(Table(folder / "items.csv"), folder, home.catalog, home.blobs)
    before = await ids(home)
    monkeypatch.setattr(pictures, "METHOD", 6)
    monkeypatch.setattr(pictures, "QUALITY", 60)
    again = await import_items(Table(folder / "items.csv"), folder, home.catalog, home.blobs)
    assert (again.accepted, again.unchanged) == (0, 1)
    (folder / "items.csv").write_text(ROWS.replace("Both", "Renamed"))
    renamed = await import_items(Table(folder / "items.csv"), folder, home.catalog, home.blobs)
    assert (renamed.accepted, await ids(home), len(before)) == (1, before, 2)


async def test_a_store_of_before_keeps_its_covers(home: Home, folder: Path) -> None:
    both = tuple(as_before(folder / name) for name in ("solid.png", "cut.png"))
    await home.catalog.upsert([IncomingItem(Item("1", "Both"), both)])
    before, item = await ids(home), await home.store.catalog.item("1")
    again = await import_items(Table(folder / "items.csv"), folder, home.catalog, home.blobs)
    assert (again.accepted, again.unchanged, len(before)) == (0, 1, 2)
    Image.new("RGB", (64, 48), "red").save(folder / "solid.png")
    (folder / "items.csv").write_text(ROWS.replace("Both", "Renamed"))
    changed = await import_items(Table(folder / "items.csv"), folder, home.catalog, home.blobs)
    after = await ids(home)
    assert (changed.accepted, len(after), len(after & before)) == (1, 2, 1), "only the new picture is a new cover"
    now = await home.store.catalog.item("1")
    assert item is not None
    assert now is not None
    assert now.references[1] == item.references[1]


async def test_covers_of_before_are_unchanged(home: Home, folder: Path) -> None:
    item = Item("1", "Both")
    await home.catalog.upsert([IncomingItem(item)])
    old = [IncomingCover(id, item, as_before(folder / f"{id}.png")) for id in ("solid", "cut")]
    await home.catalog.add_covers([IncomingCover(c.id, item, Picture(c.picture.cover, *(64, 48))) for c in old])
    (folder / "covers.csv").write_text("cover_id,item_id,image\nsolid,1,solid.png\ncut,1,cut.png\n")
    for _ in range(2):
        table = Table(folder / "covers.csv")
        report = await import_covers(table, folder, home.catalog, home.blobs, home.store.notes)
        assert (report.accepted, report.unchanged) == (0, 2)


async def test_the_same_pixels_in_another_file_replace_the_cover(home: Home, folder: Path) -> None:
    await import_items(Table(folder / "items.csv"), folder, home.catalog, home.blobs)
    before = await ids(home)
    with Image.open(folder / "solid.png") as image:
        image.save(folder / "solid.png", compress_level=0)
    report = await import_items(Table(folder / "items.csv"), folder, home.catalog, home.blobs)
    assert (report.accepted, len(await ids(home)), len(await ids(home) & before)) == (1, 2, 1)
