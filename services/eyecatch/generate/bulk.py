"""Covers of all items for all taste clusters: shards of drawing, whose covers this process then puts into the pools. Knows no store.

A pair of item and taste that has its covers is left alone, a pair that was drawn before an interruption is stored without being drawn
again, and ids come from what is drawn: whatever dies, no cover is missing and none is there twice.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from eyecatch.core.errors import EyecatchError, InvalidInput, Unavailable
from eyecatch.core.ports import Blobs, CatalogStore, JobQueue
from eyecatch.core.tastes.clusters import TasteClusters
from eyecatch.core.types import BACKGROUND, Cover, Item, Job, Origin, Provenance, Standing, Trust
from eyecatch.generate.making import Drafts, MakerOptions, PoolWriter
from eyecatch.shards import Runner, Shard, ShardResults, here, key_of, opened, run, waited

TASTES, ROUND = 8, 64
"""Pairs of a shard, all of one item, whose reading they share; and items whose shards are run before their covers are stored."""


@dataclass(frozen=True, eq=False)
class Order:
    """A job about an item with its catalogue covers."""

    job: Job
    item: Item
    pool: tuple[Cover, ...]


@dataclass(frozen=True, eq=False)
class Draw:
    """Orders -> covers whose images are stored, as JSON; a job that is refused has its reason instead. A Work of eyecatch.shards.

    drafts: opens model and image store, once in each process. model: names the model and all settings that covers depend on.
    """

    drafts: Callable[[], Drafts]
    model: str

    def __call__(self, orders: Sequence[Order]) -> bytes:
        return waited(self._draw(orders))

    async def _draw(self, orders: Sequence[Order]) -> bytes:
        return json.dumps(await asyncio.gather(*map(self._covers, orders))).encode()

    async def _covers(self, order: Order) -> dict[str, object]:
        try:
            covers = await opened(self.drafts).covers(order.job, order.item, order.pool, lambda progress: None)
        except Unavailable:
            raise
        except EyecatchError as error:
            return {"covers": [], "refused": str(error)}
        return {"covers": [as_row(cover) for cover in covers], "refused": ""}

    def shard(self, orders: Sequence[Order]) -> Shard:
        """By all that the covers depend on: neither other items nor covers that were made matter."""
        parts = [self.model]
        for order in orders:
            item, pool = order.item, [(cover.id, cover.uri, cover.standing.trust) for cover in order.pool]
            parts.append(json.dumps([order.job.id, item.id, item.title, item.category, item.references, pool]))
        return Shard(key_of(*parts), orders)


def as_row(cover: Cover) -> dict[str, object]:
    """A cover as plain values, for JSON; floats keep all their digits."""
    values = {name: getattr(cover, name) for name in ("id", "item_id", "uri", "width", "height", "taste", "created_at")}
    values |= {"embedding": cover.embedding.tolist(), "rewards": {k: float(v) for k, v in cover.rewards.items()}}
    return values | {"provenance": asdict(cover.provenance), "ruling": asdict(cover.standing)}


def from_row(row: dict[str, object]) -> Cover:
    """The cover that `as_row` got."""
    values = dict(row)
    provenance, ruling = dict(values.pop("provenance")), dict(values.pop("ruling"))  # type: ignore[call-overload]
    provenance["origin"] = Origin(provenance["origin"])
    standing = Standing(Trust(ruling["trust"]), tuple(ruling["reasons"]), ruling["pinned"])
    embedding = np.array(values.pop("embedding"), np.float32)
    return Cover(**values, embedding=embedding, provenance=Provenance(**provenance), ruling=standing)  # type: ignore[arg-type]


@dataclass(frozen=True)
class BulkExtent:
    """tastes: so many of the largest clusters; count: covers of each pair of item and taste."""

    tastes: int = TASTES
    count: int = 1


async def bulk(
    catalog: CatalogStore,
    queue: JobQueue,
    blobs: Blobs,
    draw: Draw,
    options: MakerOptions,
    clusters: TasteClusters,
    extent: BulkExtent,
    results: ShardResults,
    runner: Runner = here,
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[str, int]:
    """Draw what is missing and store it; returns counts by what became of each pair. `on_progress` gets about how many items are done.

    Raises InvalidInput if an item's pool could never hold a cover for each taste, Unavailable if a store or a model does not answer.
    """
    if extent.tastes * extent.count >= options.pool_size:
        allowed = f"fewer than the pool of an item holds ({options.pool_size}), with room for its own"
        raise InvalidInput.of("tastes", f"{extent.tastes} x {extent.count} covers", allowed)
    writer = PoolWriter(catalog, blobs, lambda item_id, new, gone: None, options)
    counts: Counter[str] = Counter()
    token, done = "", 0
    while True:
        page = await catalog.items(ROUND, token)
        shards = await _orders(catalog, page.rows, draw, options, clusters, extent, counts)
        share = len(page.rows) / max(len(shards), 1)
        report = partial(_report, on_progress, done, share)
        await asyncio.to_thread(run, draw, shards, results, runner, report)
        changed = [shard.payload[0].item.id for shard in shards if await _store(shard, writer, results, counts)]
        if changed:
            await queue.announce(sorted(set(changed)))
        done, token = done + len(page.rows), page.next_token
        on_progress(done)
        if not token:
            return dict(counts)


def _report(on_progress: Callable[[int], None], items: int, share: float, shards: int) -> None:
    on_progress(items + int(share * shards))


async def _orders(
    catalog: CatalogStore,
    items: Sequence[Item],
    draw: Draw,
    options: MakerOptions,
    clusters: TasteClusters,
    extent: BulkExtent,
    counts: Counter[str],
) -> list[Shard]:
    pools = await catalog.pools([item.id for item in items])
    largest = np.argsort(-clusters.shares, kind="stable")[: extent.tastes]
    tastes = sorted(int(n) for n in largest if clusters.shares[n] > 0)
    shards = []
    for item in items:
        pool = pools.get(item.id, ())
        originals = tuple(cover for cover in pool if cover.provenance.origin is Origin.CATALOGUE)
        if len(originals) + len(tastes) * extent.count > options.pool_size:
            counts["pool has no room for all tastes"] += len(tastes)
            continue
        have = Counter(cover.taste for cover in pool if cover.provenance.origin is Origin.GENERATED)
        missing = [taste for taste in tastes if have[taste] < extent.count]
        counts["had its covers"] += len(tastes) - len(missing)
        orders = [Order(_job(item, clusters, taste, extent, draw.model), item, originals) for taste in missing]
        shards += [draw.shard(orders[n : n + TASTES]) for n in range(0, len(orders), TASTES)]
    return shards


def _job(item: Item, clusters: TasteClusters, taste: int, extent: BulkExtent, model: str) -> Job:
    """As a thin pool requests it, so that either finds the covers of the other."""
    key = f"{BACKGROUND}{item.id}/{clusters.name}/{taste}"
    centroid = clusters.centroids[taste]
    id = key_of(model, key, centroid.tobytes(), str(extent.count))
    return Job(id, key, item.id, tuple(centroid.tolist()), taste, extent.count, int(id[:8], 16))


async def _store(shard: Shard, writer: PoolWriter, results: ShardResults, counts: Counter[str]) -> bool:
    changed = False
    for order, result in zip(shard.payload, json.loads(results.read(shard.key)), strict=True):
        covers = [from_row(row) for row in result["covers"]]
        if result["refused"]:
            counts[f"refused: {result['refused']}"] += 1
        elif not covers:
            counts["outside of the domain, or without a picture"] += 1
        else:
            counts["drawn"] += 1
            counts["covers"] += len(covers)
            await writer.add(order.job, covers)
            changed = True
    return changed
