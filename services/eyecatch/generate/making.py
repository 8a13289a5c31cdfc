"""A job -> covers: draw pictures, keep the best, enlarge and store those, hold the pool at its size. Knows no queue.

Recurrent generation (arXiv:2408.00418): a picture that its judge would not show is drawn again with another seed, up to a limit, and
the most reliable one stays. Cover ids come from job and seed, so a job that runs twice after a crash replaces its own covers.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import structlog

from eyecatch.core.defaults import SCORING
from eyecatch.core.errors import InvalidInput, NotFound, Unavailable
from eyecatch.core.judgement import RELIABILITY
from eyecatch.core.ports import Blobs, Brief, CatalogStore, GeneratedCover, Generator, Progress, Upscaler
from eyecatch.core.score import Scoring
from eyecatch.core.types import Cover, Item, Job, Origin, Pixels, Provenance, Vector, zeros
from eyecatch.pictures import preview, thumbnail

log = structlog.get_logger(__name__)

BATCH = 4
MAX_REFERENCES = 2
PREVIEW_SIDE = 64
# Stores keep seeds in eight signed bytes.
SEEDS = 2**63

OnChange = Callable[[str, Sequence[Cover], Sequence[str]], None]
"""(item id, covers that are new in its pool, ids of those that left it)"""
OnJudged = Callable[[int, bool], None]
"""(pictures drawn for one judged cover, whether the picture that stays may be shown)"""


def ignored(attempts: int, available: bool) -> None:
    """Nothing counts judged covers."""


@dataclass(frozen=True)
class MakerOptions:
    """`draws` pictures are drawn for each cover of a job, and the best by `scoring` stay; each is drawn up to `attempts` times.
    `guided`: as in a Drawing."""

    scoring: Scoring = SCORING
    draws: int = 1
    pool_size: int = 16
    attempts: int = 3
    guided: tuple[float, float] | None = None


def cover_id(job: Job, seed: int) -> str:
    return hashlib.sha256(f"{job.id}/{seed}".encode()).hexdigest()[:24]


class Maker:
    """Makes any number of jobs at a time; the generator decides how many of their briefs share a batch."""

    def __init__(
        self,
        catalog: CatalogStore,
        blobs: Blobs,
        generator: Generator,
        on_change: OnChange,
        taste: MakerOptions = MakerOptions(),
        on_judged: OnJudged = ignored,
        upscaler: Upscaler | None = None,
    ) -> None:
        self._catalog, self._blobs, self._generator = catalog, blobs, generator
        self._on_change, self._taste, self._on_judged = on_change, taste, on_judged
        self._upscaler = upscaler

    async def make(self, job: Job, tell: Callable[[Progress], None]) -> list[Cover]:
        """The covers, already in the pool. `tell` is called on this loop. Raises NotFound, Unavailable, StoreFull, and what the
        generator refuses: InvalidInput, NotFound, NotReady."""
        item = await self._catalog.item(job.item_id)
        if item is None:
            raise NotFound("item", job.item_id)
        references = tuple([await self._blobs.get(uri) for uri in item.references[:MAX_REFERENCES]])
        user: Vector = np.array(job.user_embedding, np.float32) if job.user_embedding else zeros()
        wanted = job.count * self._taste.draws
        sketch = Brief(item.title, references, user, 0, replace(job.drawing, guided=self._taste.guided))
        pictures = _Pictures(self._generator, sketch, wanted, tell)
        made = await pictures.draw([job.seed + n for n in range(wanted)])
        drawn, again = [1] * wanted, _unreliable(made)
        for attempt in range(1, self._taste.attempts):
            if not again:
                break
            retried = await pictures.draw([job.seed + attempt * wanted + n for n in again])
            for n, fresh in zip(again, retried, strict=True):
                drawn[n] += 1
                if fresh.rewards.get(RELIABILITY, 0) > made[n].rewards.get(RELIABILITY, 0):
                    made[n] = fresh
            again = _unreliable(made)
        judged = [(n, one.available) for n, one in enumerate(made) if one.available is not None]
        for n, available in judged:
            self._on_judged(drawn[n], available)
        if judged:
            attempts = sum(drawn[n] for n, _ in judged) / len(judged)
            log.info("judged", job=job.id, covers=len(judged), available=sum(a for _, a in judged), attempts=attempts)
        best = [await self._enlarged(job, one) for one in self._best(made, user, job.count)]
        return await self._keep(job, item, best)

    def _best(self, made: Sequence[GeneratedCover], user: Vector, count: int) -> list[GeneratedCover]:
        """Those with the highest scores, in the order in which they were drawn. Raises InvalidInput for NaN or infinity."""
        bad = [
            m.seed for m in made if not np.isfinite(m.embedding).all() or not all(np.isfinite(list(m.rewards.values())))
        ]
        if bad:
            raise InvalidInput.of("generator.rewards", f"not finite for seeds {bad}", "finite numbers")
        scoring = self._taste.scoring
        stored = scoring.contributions(np.stack([scoring.raw(m.rewards) for m in made])).sum(axis=1)
        dots = np.stack([m.embedding for m in made]) @ user
        like = scoring.preference
        # A user embedding of zeros prefers nothing, as on the fast path.
        scores = stored + like.weight * (dots - like.mean) / like.deviation
        return [made[n] for n in sorted(np.argsort(-scores, kind="stable")[:count])]

    async def _enlarged(self, job: Job, made: GeneratedCover) -> GeneratedCover:
        """Enlarged, or as it was drawn if that fails: a small cover can be shown too, and drawing took longer than enlarging."""
        if self._upscaler is None:
            return made
        try:
            return await self._upscaler.upscale(made)
        except (Unavailable, InvalidInput) as error:
            log.warning("not_upscaled", job=job.id, seed=made.seed, error=str(error))
            return made

    async def _keep(self, job: Job, item: Item, made: Sequence[GeneratedCover]) -> list[Cover]:
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
                    job.drawing.strength,
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
        """Covers that an earlier attempt of this job left, and the oldest generated ones above the pool's size. Catalogue covers stay."""
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


class _Pictures:
    """Draws the pictures of one job in batches, and reports steps and a preview of its first picture to `tell`."""

    def __init__(self, generator: Generator, sketch: Brief, wanted: int, tell: Callable[[Progress], None]) -> None:
        self._generator, self._sketch, self._tell = generator, sketch, tell
        self._left = -(-wanted // BATCH)
        self._done = 0
        self._preview = b""

    async def draw(self, seeds: Sequence[int]) -> list[GeneratedCover]:
        loop = asyncio.get_running_loop()
        made: list[GeneratedCover] = []
        self._left = max(self._left, self._done + -(-len(seeds) // BATCH))
        for first in range(0, len(seeds), BATCH):

            def on_step(step: int, total: int, done: int = self._done) -> None:
                loop.call_soon_threadsafe(self._stepped, done * total + step, self._left * total)

            def on_preview(pixels: Pixels) -> None:
                loop.call_soon_threadsafe(self._seen, pixels)

            briefs = [replace(self._sketch, seed=seed % SEEDS) for seed in seeds[first : first + BATCH]]
            made += await self._generator.generate(briefs, on_step, None if self._done else on_preview)
            self._done += 1
            if self._done == 1 and (self._left > 1 or _unreliable(made)):
                self._preview = await asyncio.to_thread(thumbnail, made[0].image, PREVIEW_SIDE)
        return made

    def _stepped(self, step: int, total: int) -> None:
        self._tell(Progress(0, step, total, self._preview))

    def _seen(self, pixels: Pixels) -> None:
        # Half a millisecond, a few times a job: less than handing it to a thread would cost.
        self._preview = preview(pixels, PREVIEW_SIDE)


def _unreliable(made: Sequence[GeneratedCover]) -> list[int]:
    return [n for n, one in enumerate(made) if one.available is False]
