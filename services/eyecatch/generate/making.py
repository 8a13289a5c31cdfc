"""A job into covers: draw, keep the best, store images and records, keep the pool in its size. Knows no queue.

Cover ids are derived from job and seed, so a job run twice after a crash replaces its own covers instead of adding more.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eyecatch.core.defaults import SCORING
from eyecatch.core.errors import InvalidInput, NotFound
from eyecatch.core.ports import Blobs, Brief, CatalogStore, Generator, Made, Progress
from eyecatch.core.score import Scoring
from eyecatch.core.types import Cover, Item, Job, Origin, Provenance, Vector, zeros
from eyecatch.pictures import thumbnail

BATCH = 4
MAX_REFERENCES = 2
PREVIEW_SIDE = 64
# Stores keep seeds in eight signed bytes.
SEEDS = 2**63

OnChange = Callable[[str, Sequence[Cover], Sequence[str]], None]
"""(item id, covers that are new in its pool, ids of those that left it)"""


@dataclass(frozen=True)
class Taste:
    """`draws` pictures are drawn for each cover wanted, and the best by `scoring` stay."""

    scoring: Scoring = SCORING
    draws: int = 1
    pool_size: int = 16


def cover_id(job: Job, seed: int) -> str:
    return hashlib.sha256(f"{job.id}/{seed}".encode()).hexdigest()[:24]


class Maker:
    """Any number of jobs at a time; the generator decides how many of their briefs share a batch."""

    def __init__(
        self, catalog: CatalogStore, blobs: Blobs, generator: Generator, on_change: OnChange, taste: Taste = Taste()
    ) -> None:
        self._catalog, self._blobs, self._generator = catalog, blobs, generator
        self._on_change, self._taste = on_change, taste

    async def make(self, job: Job, tell: Callable[[Progress], None]) -> list[Cover]:
        """The covers, in the pool already. `tell` is called on this loop. Raises NotFound, Unavailable, StoreFull, InvalidInput."""
        item = await self._catalog.item(job.item_id)
        if item is None:
            raise NotFound("item", job.item_id)
        references = tuple([await self._blobs.get(uri) for uri in item.references[:MAX_REFERENCES]])
        user: Vector = np.array(job.user_embedding, np.float32) if job.user_embedding else zeros()
        loop = asyncio.get_running_loop()
        made: list[Made] = []
        preview = b""
        wanted = job.count * self._taste.draws
        batches = -(-wanted // BATCH)
        for batch in range(batches):
            briefs = [
                Brief(
                    item.title,
                    references,
                    user,
                    (job.seed + i) % SEEDS,
                    job.steps,
                    job.strength,
                    job.reference_strength,
                )
                for i in range(batch * BATCH, min((batch + 1) * BATCH, wanted))
            ]

            def on_step(step: int, total: int, batch: int = batch, preview: bytes = preview) -> None:
                loop.call_soon_threadsafe(tell, Progress(0, batch * total + step, batches * total, preview))

            made += await self._generator.generate(briefs, on_step)
            if not batch and batches > 1:
                preview = await asyncio.to_thread(thumbnail, made[0].image, PREVIEW_SIDE)
        return await self._keep(job, item, self._best(made, user, job.count))

    def _best(self, made: Sequence[Made], user: Vector, count: int) -> list[Made]:
        """Those with the highest scores, in the order they were drawn. Raises InvalidInput on what is not a number."""
        bad = [
            m.seed for m in made if not np.isfinite(m.embedding).all() or not all(np.isfinite(list(m.rewards.values())))
        ]
        if bad:
            raise InvalidInput.of("generator.rewards", f"not finite for seeds {bad}", "finite numbers")
        scoring = self._taste.scoring
        stored = scoring.contributions(np.stack([scoring.raw(m.rewards) for m in made])).sum(axis=1)
        dots = np.stack([m.embedding for m in made]) @ user
        like = scoring.preference
        # A user of zeros prefers nothing, as on the fast path.
        scores = stored + like.weight * (dots - like.mean) / like.deviation
        return [made[n] for n in sorted(np.argsort(-scores, kind="stable")[:count])]

    async def _keep(self, job: Job, item: Item, made: Sequence[Made]) -> list[Cover]:
        covers = [
            Cover(
                id=cover_id(job, m.seed),
                item_id=item.id,
                uri=await self._blobs.put(m.image, m.suffix),
                embedding=m.embedding,
                rewards=m.rewards,
                provenance=Provenance(
                    Origin.GENERATED,
                    m.model,
                    m.adapter,
                    m.seed,
                    m.steps,
                    job.strength,
                    m.brief_digest,
                    job.id,
                    job.made_for,
                ),
                width=m.width,
                height=m.height,
                taste=job.taste,
                created_at=time.time(),
            )
            for m in made
        ]
        await self._catalog.add_covers(covers)
        gone = await self._surplus(job, {c.id for c in covers})
        await self._take_out(gone)
        self._on_change(item.id, covers, gone)
        return covers

    async def _surplus(self, job: Job, new: set[str]) -> list[str]:
        """What an earlier attempt of this job left, and more than the pool holds: the oldest generated covers, of the catalogue's none."""
        pool = (await self._catalog.pools([job.item_id])).get(job.item_id, ())
        old = [c for c in pool if c.provenance.origin is Origin.GENERATED and c.id not in new]
        again = [c.id for c in old if c.provenance.job_id == job.id]
        rest = [c.id for c in old if c.provenance.job_id != job.id]
        return again + rest[: max(0, len(pool) - len(again) - self._taste.pool_size)]

    async def remove(self, item_id: str, cover_ids: Sequence[str]) -> None:
        await self._take_out(cover_ids)
        self._on_change(item_id, (), cover_ids)

    async def _take_out(self, cover_ids: Sequence[str]) -> None:
        for uri in await self._catalog.remove_covers(cover_ids) if cover_ids else ():
            await self._blobs.delete(uri)
