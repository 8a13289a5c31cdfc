"""Covers of all items for all tastes: each pair has its covers once, whatever was interrupted, and what cannot be drawn is counted."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.defaults import SCORING
from eyecatch.core.errors import InvalidInput, Unavailable
from eyecatch.core.generator import Brief, GeneratedCover, Generator
from eyecatch.core.tastes.clusters import TasteClusters
from eyecatch.core.trust.standing import TRUSTED
from eyecatch.core.types import AuditEntry, Cover, Item, Origin, Standing, StandingChange, Trust
from eyecatch.generate.bulk import BulkExtent, Draw, as_row, bulk, from_row
from eyecatch.generate.making import Drafts, MakerOptions
from eyecatch.shards import ShardResults
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.sqlite import SqliteStore

from tests.contracts.builders import unit
from tests.fakes import FakeGenerator, picture

TASTES = 3
EXTENT = BulkExtent(TASTES)
OPTIONS = MakerOptions(SCORING, pool_size=8, mode=TRUSTED)
CLUSTERS = TasteClusters(np.stack([unit(n) for n in range(5)]), np.array([0.3, 0.0, 0.4, 0.2, 0.1], np.float32), 1, 7)


@dataclass(frozen=True)
class OpenFake:
    """Opens drafts of the fake generator, on any worker."""

    blobs: str

    def __call__(self) -> Drafts:
        return Drafts(FsspecBlobs(self.blobs), FakeGenerator(), OPTIONS)


async def filled(store: SqliteStore, blobs: FsspecBlobs, items: int) -> None:
    uri = await blobs.put(picture("red"), "png")
    rows = [Item(f"i{n:03}", f"Item {n}", references=(uri,)) for n in range(items)]
    covers = [Cover(f"c{n:03}", f"i{n:03}", uri, unit(n)) for n in range(items)]
    await store.catalog.upsert_items(rows, covers)


class Run:
    """One catalogue, on which the job runs as often as one likes."""

    def __init__(self, store: SqliteStore, folder: Path, generator: Generator) -> None:
        self.store, self.blobs = store, FsspecBlobs(str(folder / "blobs"))
        self.results = ShardResults(folder / "job")
        self.drafts = Drafts(self.blobs, generator, OPTIONS)

    async def __call__(self, extent: BulkExtent = EXTENT) -> dict[str, int]:
        draw = Draw(lambda: self.drafts, "model")
        stores = self.store.catalog, self.store.queue, self.blobs
        return await bulk(*stores, draw, OPTIONS, CLUSTERS, extent, self.results)

    async def pairs(self) -> Counter[tuple[str, int]]:
        covers = [c async for c in self.store.catalog.all_covers() if c.provenance.origin is Origin.GENERATED]
        assert len({cover.id for cover in covers}) == len(covers)
        return Counter((cover.item_id, cover.taste) for cover in covers)


@pytest.fixture
async def job(tmp_path: Path) -> AsyncIterator[Run]:
    store = SqliteStore.open(tmp_path)
    run = Run(store, tmp_path, FakeGenerator())
    await filled(store, run.blobs, 70)  # more than a round
    yield run
    store.close()


async def test_every_item_gets_a_cover_for_each_of_the_largest_tastes(job: Run) -> None:
    assert await job() == {"drawn": 210, "covers": 210, "had its covers": 0}
    assert await job.pairs() == Counter((f"i{n:03}", taste) for n in range(70) for taste in (0, 2, 3))


async def test_a_second_run_draws_what_is_missing_alone(job: Run) -> None:
    await job()
    gone = [c.id async for c in job.store.catalog.all_covers() if c.item_id == "i004" and c.taste == 2]
    await job.store.catalog.remove_covers(gone)
    assert await job() == {"had its covers": 209, "drawn": 1, "covers": 1}


class Failing(FakeGenerator):
    """Does not answer after so many briefs."""

    limit = 100

    async def generate(
        self, briefs: Sequence[Brief], on_step: Callable[[int, int], None], on_preview: object = None
    ) -> Sequence[GeneratedCover]:
        if len(self.briefs) >= self.limit:
            raise Unavailable("no model")
        return await super().generate(briefs, on_step, on_preview)


async def test_a_run_that_failed_on_the_way_goes_on_without_drawing_again(job: Run) -> None:
    failing = Failing()
    job.drafts = Drafts(job.blobs, failing, OPTIONS)
    with pytest.raises(Unavailable):
        await job()
    failing.limit = 1000
    assert (await job())["drawn"] == 210
    assert len(await job.pairs()) == 210
    assert 210 <= len(failing.briefs) < 210 + TASTES  # of the shard that failed


async def test_a_job_that_is_refused_is_counted_with_its_reason(job: Run) -> None:
    await job.store.catalog.upsert_items([Item("i069", "Item 69", references=("blob:" + 64 * "0" + ".png",))])
    counts = await job()
    assert counts["drawn"] == 207
    assert [count for name, count in counts.items() if name.startswith("refused: no picture")] == [TASTES]


async def test_an_item_without_a_picture_is_counted(job: Run) -> None:
    await job.store.catalog.upsert_items([Item("bare", "No picture")])
    assert (await job())["outside of the domain, or without a picture"] == TASTES


async def test_what_an_editor_decided_stays(job: Run) -> None:
    await job()
    cover = next(iter([c async for c in job.store.catalog.all_covers() if c.taste == 3]))
    entry = AuditEntry(1.0, "editor", "retired", cover.item_id, cover.id)
    await job.store.catalog.change_standings([StandingChange(cover.standing, Standing(Trust.RETIRED), entry)])
    await job()
    after = await job.store.catalog.cover(cover.id)
    assert after is not None
    assert after.standing.trust is Trust.RETIRED


async def test_more_tastes_than_a_pool_holds_are_refused(job: Run) -> None:
    with pytest.raises(InvalidInput, match="fewer than the pool of an item holds"):
        await job(BulkExtent(8))
    assert (await job(BulkExtent(7, 1)))["had its covers"] == 0  # four clusters are alive
    crowd = [Cover(f"x{n}", "i000", "blob:x", unit(n)) for n in range(6)]
    await job.store.catalog.add_covers(crowd)
    assert (await job(BulkExtent(7)))["pool has no room for all tastes"] == 4


async def test_a_cover_survives_the_way_to_a_file(job: Run) -> None:
    await job()
    for cover in [c async for c in job.store.catalog.all_covers()][:4]:
        copy = from_row(as_row(cover))
        np.testing.assert_array_equal(copy.embedding, cover.embedding)
        fields = [name for name in cover.__dataclass_fields__ if name not in ("embedding", "ruling")]
        assert [getattr(copy, name) for name in fields] == [getattr(cover, name) for name in fields]
        assert copy.standing == cover.standing
