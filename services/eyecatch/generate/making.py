"""A job -> covers: draw pictures, select the best, enlarge and store them, limit the pool's size. Knows no queue.

Recurrent generation (arXiv:2408.00418): a picture that its judge would not show is drawn again with another seed, up to a limit, and
the most reliable one is used. Cover ids come from job and seed, so a job that runs twice after a crash replaces its own covers.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import structlog
from icg.compose.choice import preferred_first

from eyecatch.core.catalog import catalog_cover_id
from eyecatch.core.defaults import SCORING
from eyecatch.core.errors import InvalidInput, NotFound, Unavailable
from eyecatch.core.gates import outside_domain
from eyecatch.core.generator import Brief, GeneratedCover, Generator, Upscaler
from eyecatch.core.judgement import RELIABILITY
from eyecatch.core.ports import Blobs, CatalogStore, Progress
from eyecatch.core.score import Scoring
from eyecatch.core.trust.standing import REVIEW, TRUSTED, UNMEASURED, first_standing, unsafe, worse
from eyecatch.core.types import Cover, Item, Job, Origin, Pixels, Provenance, Trust, Vector, zeros
from eyecatch.pictures import preview, thumbnail

log = structlog.get_logger(__name__)

BATCH = 4
MAX_REFERENCES = 2
PREVIEW_SIDE = 64
# Stores keep seeds in eight signed bytes.
SEEDS = 2**63

OnChange = Callable[[str, Sequence[Cover], Sequence[str]], None]
"""(item id, covers added to its pool, ids of covers removed from it)"""
OnJudged = Callable[[int, bool], None]
"""(pictures drawn for one judged cover, whether the judge would show the one that is used)"""


def count_nothing(attempts: int, available: bool) -> None:
    """The default OnJudged."""


@dataclass(frozen=True)
class MakerOptions:
    """For each cover of a job, `draws` pictures are drawn, each up to `attempts` times; the best by `scoring` are stored.

    `guided`: as in a Drawing. `mode`: who may see a cover that passes all gates, one of core/trust/standing.py's MODES.
    `least_safety`: of a cover that users may see, None for no such gate.
    """

    scoring: Scoring = SCORING
    draws: int = 1
    pool_size: int = 16
    attempts: int = 3
    guided: tuple[float, float] | None = None
    mode: str = REVIEW
    least_safety: float | None = None


def cover_id(job: Job, seed: int) -> str:
    return hashlib.sha256(f"{job.id}/{seed}".encode()).hexdigest()[:24]


class Drafts:
    """Draws covers of jobs and stores their images; the catalogue does not have them yet. Needs no catalogue, so any machine may draw."""

    def __init__(
        self,
        blobs: Blobs,
        generator: Generator,
        options: MakerOptions = MakerOptions(),
        on_judged: OnJudged = count_nothing,
        upscaler: Upscaler | None = None,
    ) -> None:
        self._blobs, self._generator = blobs, generator
        self._options, self._on_judged = options, on_judged
        self._upscaler = upscaler

    async def covers(
        self, job: Job, item: Item, pool: Sequence[Cover], on_progress: Callable[[Progress], None]
    ) -> list[Cover]:
        """The covers of a job about `item`, which has `pool`. `on_progress` is called on this event loop.

        None are made in the background of an item without a picture, or outside of the checkpoint's domain.
        Raises NotFound, Unavailable, StoreFull, and the refusals of the generator: InvalidInput, NotFound, NotReady.
        """
        if job.background and (outside_domain(pool) or not _references(item, pool, zeros())):
            log.info("not_made", job=job.id, item=item.id, reason="outside the domain, or without a picture")
            return []
        user: Vector = np.array(job.user_embedding, np.float32) if job.user_embedding else zeros()
        references = tuple([await self._blobs.get(uri) for uri in _references(item, pool, user)])
        brief = Brief(item.title, references, user, 0, replace(job.drawing, guided=self._options.guided))
        drawer = _Drawer(self._generator, brief, job.count * self._options.draws, on_progress)
        covers = await self._draw(job, drawer)
        best = [
            await self._enlarge(job, cover, next(iter(references), b""))
            for cover in self._best(covers, user, job.count)
        ]
        return await self._stored(job, item, pool, best)

    async def _draw(self, job: Job, drawer: "_Drawer") -> list[GeneratedCover]:
        """All pictures of a job. Unreliable ones are drawn again; of two pictures the more reliable one stays."""
        count = job.count * self._options.draws
        covers = await drawer.draw([job.seed + n for n in range(count)])
        attempts, unreliable = [1] * count, _unreliable(covers)
        for attempt in range(1, self._options.attempts):
            if not unreliable:
                break
            retries = await drawer.draw([job.seed + attempt * count + n for n in unreliable])
            for n, retry in zip(unreliable, retries, strict=True):
                attempts[n] += 1
                if retry.rewards.get(RELIABILITY, 0) > covers[n].rewards.get(RELIABILITY, 0):
                    covers[n] = retry
            unreliable = _unreliable(covers)
        judged = [(attempts[n], cover.available) for n, cover in enumerate(covers) if cover.available is not None]
        for count, available in judged:
            self._on_judged(count, available)
        if judged:
            mean = sum(count for count, _ in judged) / len(judged)
            log.info("judged", job=job.id, covers=len(judged), available=sum(a for _, a in judged), attempts=mean)
        return covers

    def _best(self, covers: Sequence[GeneratedCover], user: Vector, count: int) -> list[GeneratedCover]:
        """The covers with the highest scores, in their order. Raises InvalidInput for NaN or infinity."""
        bad = [c.seed for c in covers if not np.isfinite([*c.embedding, *c.rewards.values()]).all()]
        if bad:
            raise InvalidInput.of("generator.rewards", f"not finite for seeds {bad}", "finite numbers")
        scoring = self._options.scoring
        stored = scoring.contributions(np.stack([scoring.raw(c.rewards) for c in covers])).sum(axis=1)
        dots = np.stack([c.embedding for c in covers]) @ user
        preference = scoring.preference
        # A user embedding of zeros prefers nothing, as on the fast path.
        scores = stored + preference.weight * (dots - preference.mean) / preference.deviation
        return [covers[n] for n in sorted(np.argsort(-scores, kind="stable")[:count])]

    async def _enlarge(self, job: Job, cover: GeneratedCover, picture: bytes) -> GeneratedCover:
        """The enlarged cover, or `cover` if that fails: a small cover can be shown, and drawing it again takes longer."""
        if self._upscaler is None:
            return cover
        try:
            return await self._upscaler.upscale(cover, picture)
        except (Unavailable, InvalidInput) as error:
            log.warning("not_upscaled", job=job.id, seed=cover.seed, error=str(error))
            return cover

    async def _stored(self, job: Job, item: Item, pool: Sequence[Cover], best: Sequence[GeneratedCover]) -> list[Cover]:
        options = self._options

        def failures(cover: GeneratedCover) -> tuple[str, ...]:
            measured = UNMEASURED if cover.refusals is None else cover.refusals
            return measured + worse(cover.rewards, pool, options.scoring) + unsafe(cover.rewards, options.least_safety)

        return [
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
                ruling=first_standing(failures(m), options.mode),
            )
            for m in best
        ]


class Maker:
    """Makes covers for any number of jobs at a time; the generator decides which briefs share a batch."""

    def __init__(
        self,
        catalog: CatalogStore,
        blobs: Blobs,
        generator: Generator,
        on_change: OnChange,
        options: MakerOptions = MakerOptions(),
        on_judged: OnJudged = count_nothing,
        upscaler: Upscaler | None = None,
    ) -> None:
        self._drafts = Drafts(blobs, generator, options, on_judged, upscaler)
        self._pool = PoolWriter(catalog, blobs, on_change, options)
        self._catalog = catalog

    async def make(self, job: Job, on_progress: Callable[[Progress], None]) -> list[Cover]:
        """Make the covers of a job and put them into the pool. Raises what Drafts does, and NotFound for an unknown item."""
        item = await self._catalog.item(job.item_id)
        if item is None:
            raise NotFound("item", job.item_id)
        pool = (await self._catalog.pools([item.id])).get(item.id, ())
        covers = await self._drafts.covers(job, item, pool, on_progress)
        if covers:
            await self._pool.add(job, covers)
        return covers

    async def remove(self, item_id: str, cover_ids: Sequence[str]) -> None:
        await self._pool.remove(item_id, cover_ids)


class PoolWriter:
    """Puts the covers of a job into the catalogue, and keeps the pool's size. Doing it again changes nothing."""

    def __init__(self, catalog: CatalogStore, blobs: Blobs, on_change: OnChange, options: MakerOptions) -> None:
        self._catalog, self._blobs, self._on_change, self._options = catalog, blobs, on_change, options

    async def add(self, job: Job, covers: Sequence[Cover]) -> None:
        await self._catalog.add_covers(covers)
        surplus = await self._surplus(job, {c.id for c in covers})
        await self._delete(surplus)
        self._on_change(job.item_id, covers, surplus)

    async def _surplus(self, job: Job, new: set[str]) -> list[str]:
        """Covers of an earlier attempt of this job, and made ones above the pool's size: retired ones first, then the oldest.

        A cover that an editor or a trial trusted stays; if the operator trusts all covers, it is as good as any other.
        """
        pool = (await self._catalog.pools([job.item_id])).get(job.item_id, ())
        old = [c for c in pool if c.provenance.origin is Origin.GENERATED and c.id not in new]
        from_job = [c.id for c in old if c.provenance.job_id == job.id]
        lasting = None if self._options.mode == TRUSTED else Trust.TRUSTED
        removable = [
            c
            for c in old
            if c.provenance.job_id != job.id and not c.standing.pinned and c.standing.trust is not lasting
        ]
        others = [c.id for c in sorted(removable, key=lambda c: c.standing.trust is not Trust.RETIRED)]
        return from_job + others[: max(0, len(pool) - len(from_job) - self._options.pool_size)]

    async def remove(self, item_id: str, cover_ids: Sequence[str]) -> None:
        await self._delete(cover_ids)
        self._on_change(item_id, (), cover_ids)

    async def _delete(self, cover_ids: Sequence[str]) -> None:
        for uri in await self._catalog.remove_covers(cover_ids) if cover_ids else ():
            await self._blobs.delete(uri)


class _Drawer:
    """Draws the `count` pictures of one job in batches. Reports steps and a preview of the first picture to `on_progress`."""

    def __init__(self, generator: Generator, brief: Brief, count: int, on_progress: Callable[[Progress], None]) -> None:
        self._generator, self._brief, self._on_progress = generator, brief, on_progress
        self._batches = -(-count // BATCH)
        self._done = 0
        self._preview = b""

    async def draw(self, seeds: Sequence[int]) -> list[GeneratedCover]:
        loop = asyncio.get_running_loop()
        covers: list[GeneratedCover] = []
        self._batches = max(self._batches, self._done + -(-len(seeds) // BATCH))
        for first in range(0, len(seeds), BATCH):

            def on_step(step: int, total: int, done: int = self._done) -> None:
                loop.call_soon_threadsafe(self._report, done * total + step, self._batches * total)

            def on_preview(pixels: Pixels) -> None:
                loop.call_soon_threadsafe(self._set_preview, pixels)

            briefs = [replace(self._brief, seed=seed % SEEDS) for seed in seeds[first : first + BATCH]]
            covers += await self._generator.generate(briefs, on_step, None if self._done else on_preview)
            self._done += 1
            if self._done == 1 and (self._batches > 1 or _unreliable(covers)):
                self._preview = await asyncio.to_thread(thumbnail, covers[0].image, PREVIEW_SIDE)
        return covers

    def _report(self, step: int, total: int) -> None:
        self._on_progress(Progress(0, step, total, self._preview))

    def _set_preview(self, pixels: Pixels) -> None:
        # Takes half a millisecond a few times a job, which is less than a thread would cost.
        self._preview = preview(pixels, PREVIEW_SIDE)


def _unreliable(covers: Sequence[GeneratedCover]) -> list[int]:
    return [n for n, cover in enumerate(covers) if cover.available is False]


def _references(item: Item, pool: Sequence[Cover], user: Vector) -> list[str]:
    """URIs of the item's pictures that the brief has: first the one that the user prefers, which anchors the cover.

    They are compared by the embeddings of their catalogue covers. An item without references has its catalogue covers. Retired pictures
    are left out while there are others.
    """
    originals = [cover for cover in pool if cover.provenance.origin is Origin.CATALOGUE]
    covers = {uri: c for uri in item.references for c in originals if c.id == catalog_cover_id(item.id, uri)}
    covers = {cover.uri: cover for cover in originals} | covers
    uris = item.references or tuple(cover.uri for cover in originals)
    shown = [uri for uri in uris if uri not in covers or covers[uri].standing.trust is not Trust.RETIRED] or uris
    known = [covers[uri].embedding if uri in covers else None for uri in shown]
    best_first: list[str] = preferred_first(shown, user, known)
    return best_first[:MAX_REFERENCES]
