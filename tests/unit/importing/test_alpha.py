"""A picture with alpha, from its file to the pixels of a cover."""

import io
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.errors import NotFound
from eyecatch.core.types import Origin
from eyecatch.importing import import_items
from eyecatch.importing.covers import import_covers
from icg.compose.cover import compose, output_size
from icg.compose.layout import Place, settled, stood
from icg.compose.subject import cropped
from icg.draw import ask
from PIL import Image, ImageDraw

from tests.unit.importing.conftest import Home
from tests.unit.importing.test_items import csv


def figure(seed: int = 0) -> Image.Image:
    """A noisy disc of 160 pixels on nothing, with a soft rim."""
    alpha = Image.new("L", (400, 400))
    ImageDraw.Draw(alpha).ellipse((40, 40, 360, 360), fill=255)
    picture = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (200, 200, 3), np.uint8))
    picture.putalpha(alpha.resize((200, 200), Image.Resampling.BOX))
    return picture


async def test_its_alpha_reaches_the_cover(home: Home, shop: Path) -> None:
    picture = figure()
    picture.save(shop / "figure.png")
    await import_items(csv(shop, "id,title,image", "1,A disc,figure.png"), shop, home.catalog, home.blobs)
    item = await home.store.catalog.item("1")
    assert item is not None
    brief = ask.brief(item.title, [await home.blobs.get(uri) for uri in item.references])
    assert brief.product is not None
    assert brief.product.tobytes() == picture.tobytes()
    subject, size = cropped(picture), output_size(brief)
    at = settled(Place(0.75, 0.5, 0.5), subject.size, size)
    cover = compose(brief, Image.new("RGB", brief.size, "orange"), at)
    shown, original = np.asarray(cover.crop(stood(subject, at, size).getbbox())), np.asarray(subject)
    opaque = original[..., 3] == 255
    assert opaque.sum() > 15_000
    assert (shown[opaque] == original[opaque][:, :3]).all()


async def test_its_catalogue_cover_is_over_white(home: Home, shop: Path) -> None:
    figure().save(shop / "figure.png")
    await import_items(csv(shop, "id,title,image", "1,A disc,figure.png"), shop, home.catalog, home.blobs)
    (cover,) = (await home.store.catalog.pools(["1"]))["1"]
    assert cover.provenance.origin is Origin.CATALOGUE
    image = Image.open(io.BytesIO(await home.blobs.get(cover.uri)))
    assert image.mode == "RGB"
    assert min(image.getpixel((1, 1))) > 250  # type: ignore[type-var, arg-type]


async def test_another_picture_takes_its_place(home: Home, shop: Path) -> None:
    figure().save(shop / "figure.png")
    table = ("id,title,image", "1,A disc,figure.png")
    await import_items(csv(shop, *table), shop, home.catalog, home.blobs)
    assert (await import_items(csv(shop, *table), shop, home.catalog, home.blobs)).unchanged == 1
    (first,) = (await home.store.catalog.pools(["1"]))["1"]
    before = await home.store.catalog.item("1")
    figure(1).save(shop / "figure.png")
    await import_items(csv(shop, *table), shop, home.catalog, home.blobs)
    (second,) = (await home.store.catalog.pools(["1"]))["1"]
    assert second.id != first.id
    assert before is not None
    for uri in (*before.references, first.uri):
        with pytest.raises(NotFound):
            await home.blobs.get(uri)


async def test_a_cover_with_its_own_id_is_opaque(home: Home, shop: Path) -> None:
    figure().save(shop / "figure.png")
    await import_items(csv(shop, "id,title", "1,A disc"), shop, home.catalog, home.blobs)
    await import_covers(
        csv(shop, "cover_id,item_id,image", "c,1,figure.png"), shop, home.catalog, home.blobs, home.store.notes
    )
    (cover,) = (await home.store.catalog.pools(["1"]))["1"]
    assert Image.open(io.BytesIO(await home.blobs.get(cover.uri))).mode == "RGB"
