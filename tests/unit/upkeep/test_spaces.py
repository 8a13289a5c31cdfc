"""Covers of two models never meet: a state knows which one embedded its covers."""

from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.errors import StoreError, Unavailable
from eyecatch.core.types import Provenance
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.upkeep.spaces import claim, reembed

from tests.contracts.builders import cover, generated, item
from tests.fakes import FakeGenerator, embed, picture


async def test_the_first_to_come_decides_and_others_are_refused(store: SqliteStore) -> None:
    await claim(store.catalog, store.notes, 10)
    await claim(store.catalog, store.notes, 11)  # there was no cover yet
    await store.catalog.upsert_items([item("a")], [cover("c", "a")])
    await claim(store.catalog, store.notes, 11)
    with pytest.raises(StoreError, match=r"another model \(000b, the checkpoint's is 000a\).*items reembed"):
        await claim(store.catalog, store.notes, 10)


async def test_embedding_anew_changes_every_cover_and_nothing_else(store: SqliteStore, tmp_path: Path) -> None:
    blobs, generator = FsspecBlobs(str(tmp_path / "blobs")), FakeGenerator()
    images = {color: picture(color) for color in ("red", "blue", "green")}
    uris = {color: await blobs.put(data, "png") for color, data in images.items()}
    covers = [
        cover("c1", "a", 1, uri=uris["red"], rewards={"engagement": 0.25, "relevance": 0.0}),
        generated("c2", "a", 2, uri=uris["blue"], taste=3),
        *(cover(f"m{n}", "b", n, uri=uris["green"]) for n in range(100)),
    ]
    await store.catalog.upsert_items([item("a"), item("b")], covers)
    await claim(store.catalog, store.notes, 10)
    generator.error = Unavailable("no model")
    with pytest.raises(Unavailable):
        await reembed(store.catalog, store.notes, blobs, generator, 11)
    for space in (10, 11):
        with pytest.raises(StoreError, match=r"interrupted; `eyecatch items reembed`"):
            await claim(store.catalog, store.notes, space)
    generator.error = None
    updates: list[int] = []
    assert await reembed(store.catalog, store.notes, blobs, generator, 11, updates.append) == 102
    assert updates == [64]
    await claim(store.catalog, store.notes, 11)
    one, two = await store.catalog.cover("c1"), await store.catalog.cover("c2")
    assert one is not None
    assert two is not None
    np.testing.assert_allclose(one.embedding, embed(images["red"]), atol=2e-3)
    np.testing.assert_allclose(two.embedding, embed(images["blue"]), atol=2e-3)
    assert one.rewards == {"engagement": 0.25, "relevance": 0.5}
    assert (two.taste, two.provenance != Provenance(), two.uri) == (3, True, uris["blue"])
