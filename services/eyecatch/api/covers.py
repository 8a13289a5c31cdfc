"""The Covers service: recommends, ranks, generates and returns covers."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from eyecatch.api import wire
from eyecatch.api.fast_wire import AnswerWriter
from eyecatch.api.status import stream, unary
from eyecatch.core import limits
from eyecatch.core.behaviour.tokens import user_tag
from eyecatch.core.errors import Conflict, NotFound, NotReady
from eyecatch.core.generator import Generation
from eyecatch.core.judgement import RELIABILITY, from_rewards
from eyecatch.core.ports import Blobs, CatalogStore, CoverIndex, Encoder, Notes, ProfileStore, Progress
from eyecatch.core.recommending.recommend import Recommender
from eyecatch.core.score import PREFERENCE
from eyecatch.core.tastes.clusters import Tastes
from eyecatch.core.tastes.segments import audience_of
from eyecatch.core.types import Caller, Job, JobState, Vector
from eyecatch.messages import drawing_from_wire
from eyecatch.v1 import covers_pb2, covers_pb2_grpc, types_pb2

OFFSET_TOKEN = "from:"  # noqa: S105  (a page token, not a secret)


class CoversServicer(covers_pb2_grpc.CoversServiceServicer):
    def __init__(
        self,
        recommender: Recommender,
        generation: Generation,
        catalog: CatalogStore,
        profiles: ProfileStore,
        encoder: Encoder,
        tastes: Tastes,
        blobs: Blobs,
        index: CoverIndex,
        notes: Notes,
    ) -> None:
        self._recommender, self._generation = recommender, generation
        self._catalog, self._profiles, self._encoder, self._tastes = catalog, profiles, encoder, tastes
        self._blobs, self._index, self._notes = blobs, index, notes
        self._write = AnswerWriter(recommender.pools)

    @unary
    async def RecommendCovers(self, request: covers_pb2.RecommendCoversRequest, context: Any) -> bytes:
        """Returns serialised bytes; api/server.py registers the method without a serializer."""
        item_ids = list(request.item_ids)
        check = limits.Check()
        check.id("user_id", request.user_id, optional=True)
        check.count("item_ids", len(item_ids), 1, limits.MAX_RECOMMEND_ITEMS)
        check.count("covers_per_item", request.covers_per_item, 0, limits.MAX_COVERS_PER_ITEM)
        # Ids of items in memory were checked when they were stored; `hold` also finds ids that occur twice.
        if check.violations or not self._recommender.pools.hold(item_ids):
            if len(item_ids) <= limits.MAX_RECOMMEND_ITEMS:
                check.ids("item_ids", item_ids)
            check.done()
        answer = await self._recommender.recommend(
            request.user_id, item_ids, request.covers_per_item or 1, not request.no_generation
        )
        return self._write(answer)

    @unary
    async def RankCovers(self, request: covers_pb2.RankCoversRequest, context: Any) -> covers_pb2.RankCoversResponse:
        check = limits.Check()
        check.id("user_id", request.user_id, optional=True)
        check.id("item_id", request.item_id, optional=True)
        check.count("limit", request.limit, 0, 100)
        check.done()
        limit = request.limit or 16
        if not request.item_id:
            return await self._nearest(request.user_id, limit)
        response = wire.ranking(self._recommender.pools, await self._recommender.rank(request.user_id, request.item_id))
        del response.covers[limit:]
        if any(part.name == RELIABILITY for scored in response.covers for part in scored.parts):
            pool = {c.id: c.rewards for c in (await self._catalog.pools([request.item_id])).get(request.item_id, ())}
            for scored in response.covers:
                scored.judgement.update(from_rewards(pool.get(scored.cover_id, {})))
        return response

    async def _nearest(self, user_id: str, limit: int) -> covers_pb2.RankCoversResponse:
        user = await self._profiles.embedding(user_id, self._encoder) if user_id else None
        if user is None:
            raise NotReady(
                "ranking the whole catalogue needs a user with behaviour or a mapped vector; set item_id to rank the covers of one item"
            )
        covers = []
        for cover_id, dot in self._index.search(user, limit):
            cover = await self._catalog.cover(cover_id)
            if cover is None:  # deleted since the search, or by another process
                self._index.remove([cover_id])
            else:
                part = types_pb2.RewardPart(name=PREFERENCE, value=dot, contribution=dot)
                covers.append(
                    types_pb2.ScoredCover(cover_id=cover.id, uri=cover.uri, score=dot, parts=[part], propensity=1.0)
                )
        return covers_pb2.RankCoversResponse(covers=covers, personalised=True)

    @stream
    async def GenerateCovers(
        self, request: covers_pb2.GenerateCoversRequest, context: Any
    ) -> AsyncGenerator[covers_pb2.GenerateCoversResponse]:
        job = await self._job(request)
        finished = False
        try:
            status = await self._generation.request(job)
            job_id = status.job.id
            if status.job.id != job.id and not job.repeats(status.job):
                raise Conflict(f"idempotency_key {request.idempotency_key!r} was used for a different request")
            async with aclosing(self._generation.watch(job_id)) as watch:
                async for news in watch:
                    if isinstance(news, Progress):
                        yield _progress(job_id, news)
                    else:
                        status, finished = news, True
        finally:
            # A caller with a key can repeat the call to get the covers; without a key the work would be wasted.
            if not finished and not request.idempotency_key:
                await self._generation.cancel(job.id)
        if status.state is JobState.FAILED:
            raise status.failure.error()
        present = [cover for id in status.cover_ids if (cover := await self._catalog.cover(id))]
        if status.cover_ids and not present:
            raise NotFound("cover of job", job_id, "another idempotency_key; the covers of this one have left the pool")
        for cover in present:
            image = await self._blobs.get(cover.uri)
            yield covers_pb2.GenerateCoversResponse(cover=wire.cover_to_wire(cover, image))

    async def _job(self, request: covers_pb2.GenerateCoversRequest) -> Job:
        check = limits.Check()
        check.id("user_id", request.user_id, optional=True)
        check.id("item_id", request.item_id)
        check.id("idempotency_key", request.idempotency_key, optional=True)
        check.count("count", request.count, 0, limits.MAX_GENERATE)
        if request.HasField("seed"):
            check.count("seed", request.seed, 0, 2**63 - 1 - limits.MAX_GENERATE)
        drawing = drawing_from_wire(request)
        check.drawing("", drawing)
        check.text("segment", request.segment, limits.MAX_ID, optional=True)
        if request.segment and request.user_id:
            check.refuse("segment", request.segment, "none with user_id")
        check.done()
        if not await self._catalog.known_items([request.item_id]):
            raise NotFound("item", request.item_id)
        if request.segment:
            user: Vector | None
            user, audience = await audience_of(self._notes, self._tastes.current, request.segment)
            drawing = replace(drawing, audience=audience)
        else:
            user = await self._profiles.embedding(request.user_id, self._encoder) if request.user_id else None
        job_id = uuid.uuid4().hex
        caller = Caller(
            user_tag(request.user_id) if request.user_id else "",
            request.segment.casefold(),
            request.seed if request.HasField("seed") else None,
        )
        return Job(
            id=job_id,
            key=f"call/{request.idempotency_key}" if request.idempotency_key else job_id,
            item_id=request.item_id,
            user_embedding=tuple(user.tolist()) if user is not None else (),
            taste=self._tastes.current.of(user) if user is not None else -1,
            count=request.count or 1,
            seed=int(job_id[:8], 16) if caller.seed is None else caller.seed,
            drawing=drawing,
            made_for=caller.user if user is not None else "",
            caller=caller if request.idempotency_key else None,
        )

    @unary
    async def GetCover(self, request: covers_pb2.GetCoverRequest, context: Any) -> covers_pb2.GetCoverResponse:
        limits.check_id("cover_id", request.cover_id)
        cover = await self._catalog.cover(request.cover_id)
        if cover is None:
            raise NotFound("cover", request.cover_id)
        image = await self._blobs.get(cover.uri) if request.include_image else b""
        return covers_pb2.GetCoverResponse(cover=wire.cover_to_wire(cover, image))

    @unary
    async def GetCovers(self, request: covers_pb2.GetCoversRequest, context: Any) -> covers_pb2.GetCoversResponse:
        ids, check = list(request.cover_ids), limits.Check()
        check.count("cover_ids", len(ids), 1, limits.MAX_COVERS)
        check.ids("cover_ids", ids[: limits.MAX_COVERS])
        check.done()
        covers = await asyncio.gather(*(self._catalog.cover(id) for id in ids))
        known = [cover for cover in covers if cover is not None]
        images = [b""] * len(known)
        if request.include_image:
            images = await asyncio.gather(*(self._blobs.get(cover.uri) for cover in known))
        return covers_pb2.GetCoversResponse(
            covers=map(wire.cover_to_wire, known, images),
            missing_ids=[id for id, cover in zip(ids, covers, strict=True) if cover is None],
        )

    @unary
    async def ListCovers(self, request: covers_pb2.ListCoversRequest, context: Any) -> covers_pb2.ListCoversResponse:
        check = limits.Check()
        check.id("item_id", request.item_id)
        check.count("page_size", request.page_size, 0, limits.MAX_PAGE)
        token = request.page_token
        start = token.removeprefix(OFFSET_TOKEN) if token.startswith(OFFSET_TOKEN) else ""
        if token and not (start.isascii() and start.isdigit() and len(start) < 10):
            check.refuse("page_token", token, "next_page_token of the last response")
        check.done()
        pool = (await self._catalog.pools([request.item_id])).get(request.item_id)
        if pool is None:
            raise NotFound("item", request.item_id)
        first, size = int(start or 0), request.page_size or 100
        more = first + size < len(pool)
        return covers_pb2.ListCoversResponse(
            covers=[wire.cover_to_wire(c) for c in pool[first : first + size]],
            next_page_token=f"{OFFSET_TOKEN}{first + size}" if more else "",
        )


def _progress(job_id: str, news: Progress) -> covers_pb2.GenerateCoversResponse:
    progress = covers_pb2.GenerationProgress(
        job_id=job_id,
        queue_position=news.queue_position,
        step=news.step,
        total_steps=news.total_steps,
        preview=news.preview,
    )
    return covers_pb2.GenerateCoversResponse(progress=progress)
