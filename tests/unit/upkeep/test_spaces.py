"""Covers of two models never meet: a state knows which one embedded its covers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.errors import StoreError, Unavailable
from eyecatch.core.generator import PictureScore
from eyecatch.core.types import Provenance
from eyecatch.shards import ShardResults
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.upkeep.spaces import Embed, claim, reembed

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
    results, embedder = ShardResults(tmp_path / "job"), Embed(blobs, lambda: generator, "model")
    with pytest.raises(Unavailable):
        await reembed(store.catalog, store.notes, embedder, 11, results)
    for space in (10, 11):
        with pytest.raises(StoreError, match=r"interrupted; `eyecatch items reembed`"):
            await claim(store.catalog, store.notes, space)
    generator.error = None
    updates: list[int] = []
    assert await reembed(store.catalog, store.notes, embedder, 11, results, on_progress=updates.append) == 102
    assert updates == []  # fewer than a round
    await claim(store.catalog, store.notes, 11)
    one, two = await store.catalog.cover("c1"), await store.catalog.cover("c2")
    assert one is not None
    assert two is not None
    np.testing.assert_allclose(one.embedding, embed(images["red"]), atol=2e-3)
    np.testing.assert_allclose(two.embedding, embed(images["blue"]), atol=2e-3)
    assert one.rewards == {"engagement": 0.25, "relevance": 0.5}
    assert (two.taste, two.provenance != Provenance(), two.uri) == (3, True, uris["blue"])


async def test_what_was_embedded_before_an_interruption_is_not_embedded_again(
    store: SqliteStore, tmp_path: Path
) -> None:
    blobs, results = FsspecBlobs(str(tmp_path / "blobs")), ShardResults(tmp_path / "job")
    uri = await blobs.put(picture("red"), "png")
    ids = [f"i{n:03}" for n in range(150)]
    covers = [cover(f"c-{id}", id, n, uri=uri) for n, id in enumerate(ids)]
    await store.catalog.upsert_items([item(id) for id in ids], covers)
    calls: list[int] = []

    class Failing(FakeGenerator):
        async def score(self, images: Sequence[bytes], titles: Sequence[str]) -> Sequence[PictureScore]:
            calls.append(len(images))
            if len(calls) == 2:
                raise Unavailable("no model")
            return await super().score(images, titles)

    generator = Failing()
    embedder = Embed(blobs, lambda: generator, "model")
    with pytest.raises(Unavailable):
        await reembed(store.catalog, store.notes, embedder, 11, results)
    assert await reembed(store.catalog, store.notes, embedder, 11, results) == 150
    assert calls == [64, 64, 64, 22]
