"""GenerateCovers: progress, idempotency, cancellation, failure; and covers made in the background for thin pools."""

import asyncio

import grpc
import numpy as np
import pytest
from eyecatch.config import Config
from eyecatch.core.backoff import Backoff
from eyecatch.core.errors import InvalidInput, NotFound, NotReady, Unavailable
from eyecatch.core.tastes.clusters import directions
from eyecatch.core.tastes.segments import save
from eyecatch.core.types import JobState
from eyecatch.v1 import behavior_pb2, covers_pb2, types_pb2

from tests.contracts.builders import MEAN
from tests.unit.api.conftest import Api, event
from tests.waiting import until

Generate = covers_pb2.GenerateCoversRequest


async def collect(call: grpc.aio.UnaryStreamCall) -> tuple[list[covers_pb2.GenerationProgress], list[types_pb2.Cover]]:
    updates = [u async for u in call]
    progress = [u.progress for u in updates if u.WhichOneof("update") == "progress"]
    return progress, [u.cover for u in updates if u.WhichOneof("update") == "cover"]


async def test_progress_then_covers_that_are_in_the_pool(api: Api) -> None:
    await api.put("a", "red")
    progress, covers = await collect(api.covers.GenerateCovers(Generate(item_id="a", count=6, seed=5)))
    assert [c.provenance.seed for c in covers] == [5, 6, 7, 8, 9, 10]
    assert progress[0].job_id == covers[0].provenance.job_id
    assert all(c.provenance.origin == types_pb2.ORIGIN_GENERATED and c.image for c in covers)
    steps = [p.step for p in progress]
    assert steps == sorted(steps)
    assert max(p.total_steps for p in progress) == 8, "six covers are two batches of four steps"
    listed = await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="a"))
    assert {c.id for c in covers} < {c.id for c in listed.covers}


async def test_the_same_key_gives_the_same_covers(api: Api) -> None:
    await api.put("a", "red")
    first, second = [
        (await collect(api.covers.GenerateCovers(Generate(item_id="a", idempotency_key="k"))))[1] for _ in range(2)
    ]
    assert [c.id for c in first] == [c.id for c in second]
    assert len(api.generator.briefs) == 1
    other = Generate(item_id="a", idempotency_key="k", count=2)
    await api.refused(api.covers.GenerateCovers(other).read(), grpc.StatusCode.ALREADY_EXISTS)
    around = Generate(item_id="a", idempotency_key="k", inpaint=True)
    await api.refused(api.covers.GenerateCovers(around).read(), grpc.StatusCode.ALREADY_EXISTS)


async def test_a_product_reaches_the_generator(api: Api) -> None:
    await api.put("a", "red")
    request = Generate(item_id="a", idempotency_key="k", product_id="blue-mug")
    _, (cover,) = await collect(api.covers.GenerateCovers(request))
    assert [b.drawing.product_id for b in api.generator.briefs] == ["blue-mug"]
    status = await api.app.parts.store.queue.status(cover.provenance.job_id)
    assert status is not None
    assert status.job.drawing.product_id == "blue-mug", "the queue keeps it"
    for other in ("", "red-mug"):
        query = Generate(item_id="a", idempotency_key="k", product_id=other)
        await api.refused(api.covers.GenerateCovers(query).read(), grpc.StatusCode.ALREADY_EXISTS)


async def test_a_wanted_engagement_reaches_the_generator(api: Api) -> None:
    await api.put("a", "red")
    await collect(api.covers.GenerateCovers(Generate(item_id="a", idempotency_key="k", target_kpi="high")))
    assert [b.drawing.target_kpi for b in api.generator.briefs] == ["high"]
    other = Generate(item_id="a", idempotency_key="k", target_kpi="low")
    await api.refused(api.covers.GenerateCovers(other).read(), grpc.StatusCode.ALREADY_EXISTS)


async def test_a_segment_stands_in_for_a_user(api: Api) -> None:
    await api.put("a", "red")
    query = Generate(item_id="a", segment="coffee enthusiasts")
    await api.refused(api.covers.GenerateCovers(query).read(), grpc.StatusCode.NOT_FOUND)
    clusters, notes = directions(), api.app.parts.store.notes
    taste = clusters.centroids[3]
    segment = {"id": "3", "name": "Coffee enthusiasts", "looks": ["navy", "dark"], "embedding": taste.tolist()}
    await save(notes, clusters, [segment])
    _, (cover,) = await collect(api.covers.GenerateCovers(query))
    np.testing.assert_allclose(api.generator.briefs[0].user_embedding, taste, atol=1e-6)
    assert api.generator.briefs[0].drawing.audience == "Coffee enthusiasts, who like navy dark"
    status = await api.app.parts.store.queue.status(cover.provenance.job_id)
    assert status is not None
    assert (status.job.taste, status.job.made_for) == (3, "")
    await save(notes, clusters, [{"id": "3", "name": "Coffee enthusiasts"}])
    await api.refused(api.covers.GenerateCovers(query).read(), grpc.StatusCode.FAILED_PRECONDITION)


@pytest.mark.parametrize("inpaint", [True, False])
async def test_a_scene_around_the_product_reaches_the_generator(api: Api, inpaint: bool) -> None:
    await api.put("a", "red")
    request = Generate(item_id="a", idempotency_key="k", inpaint=inpaint)
    _, (cover,) = await collect(api.covers.GenerateCovers(request))
    assert [(b.drawing.inpaint, b.drawing.reference_strength) for b in api.generator.briefs] == [(inpaint, None)]
    status = await api.app.parts.store.queue.status(cover.provenance.job_id)
    assert status is not None
    assert status.job.drawing.inpaint == inpaint, "the queue keeps it"
    assert len((await collect(api.covers.GenerateCovers(request)))[1]) == 1, "the same request again"


async def test_two_callers_with_one_key_share_one_job(api: Api) -> None:
    await api.put("a", "red")
    request = Generate(item_id="a", idempotency_key="k")
    (_, one), (_, two) = await asyncio.gather(*(collect(api.covers.GenerateCovers(request)) for _ in range(2)))
    assert [c.id for c in one] == [c.id for c in two]
    assert len(api.generator.briefs) == 1


async def started(api: Api, request: Generate) -> grpc.aio.UnaryStreamCall:
    """A call whose job is in the denoiser, which waits at the gate."""
    api.generator.gate = asyncio.Event()
    call = api.covers.GenerateCovers(request)
    await call.read()
    while not api.generator.briefs:
        await asyncio.sleep(0)
    return call


async def test_a_client_that_goes_away_stops_the_denoiser(api: Api) -> None:
    await api.put("a", "red")
    call = await started(api, Generate(item_id="a"))
    (job_id,) = api.app.worker.running
    call.cancel()
    while api.app.worker.running:
        await asyncio.sleep(0)
    assert api.generator.steps_done == 0
    status = await api.app.parts.store.queue.status(job_id)
    assert status is not None
    assert "went away" in status.error
    api.generator.gate = None
    _, covers = await collect(api.covers.GenerateCovers(Generate(item_id="a")))
    assert len(covers) == 1, "the worker lives on"


async def test_a_job_with_a_key_survives_its_caller(api: Api) -> None:
    await api.put("a", "red")
    request = Generate(item_id="a", idempotency_key="k")
    call = await started(api, request)
    call.cancel()
    api.generator.gate.set()
    _, covers = await collect(api.covers.GenerateCovers(request))
    assert len(covers) == 1
    assert len(api.generator.briefs) == 1


async def test_a_deadline_reaches_the_denoiser(api: Api) -> None:
    await api.put("a", "red")
    api.generator.gate = asyncio.Event()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect(api.covers.GenerateCovers(Generate(item_id="a"), timeout=0.3))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    while api.app.worker.running:
        await asyncio.sleep(0)
    assert api.generator.steps_done == 0


async def test_a_dead_generator_leaves_the_fast_path_alone(api: Api) -> None:
    await api.put("a", "red")
    api.app.worker._backoff = Backoff(0.0, 0.0)
    api.generator.error = Unavailable("the GPU is on fire")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect(api.covers.GenerateCovers(Generate(item_id="a")))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "on fire" in (caught.value.details() or "")
    answer = await api.covers.RecommendCovers(covers_pb2.RecommendCoversRequest(item_ids=["a"]))
    assert answer.items[0].covers
    api.generator.error = None
    assert (await collect(api.covers.GenerateCovers(Generate(item_id="a"))))[1], "recovers without a restart"


async def test_a_caller_is_told_that_the_generator_is_away_and_a_job_with_a_key_waits(api: Api) -> None:
    await api.put("a", "red")
    api.generator.there, api.generator.error = False, Unavailable("gone")
    for again in (Generate(item_id="a", idempotency_key="k"), Generate(item_id="a", idempotency_key="k")):
        with pytest.raises(grpc.aio.AioRpcError, match="the generator does not answer"):
            await collect(api.covers.GenerateCovers(again))
    api.generator.there, api.generator.error = True, None
    await until(api.app.worker.can_draw, "the generator")
    assert len((await collect(api.covers.GenerateCovers(again)))[1]) == 1
    assert (await api.app.parts.store.queue.waiting()) == 0


@pytest.mark.parametrize(
    ("error", "code", "fields"),
    [
        (InvalidInput.of("guidance", 30.0, "0 to 20"), "INVALID_ARGUMENT", {"guidance"}),
        (InvalidInput.of("size", (8, 8), "(128, 128)"), "INVALID_ARGUMENT", {"size"}),
        (NotFound("product", "gone"), "NOT_FOUND", set()),
        (NotReady("no controlnet/"), "FAILED_PRECONDITION", set()),
        (RuntimeError("a defect"), "INTERNAL", set()),
    ],
)
async def test_what_the_generator_refuses_is_final(api: Api, error: Exception, code: str, fields: set[str]) -> None:
    await api.put("a", "red")
    api.generator.error = error
    request = Generate(item_id="a", idempotency_key="k")
    call = api.covers.GenerateCovers(request)
    job_id = (await call.read()).progress.job_id
    assert await api.refused(rest(call), grpc.StatusCode[code]) == fields
    status = await api.app.parts.store.queue.status(job_id)
    assert status is not None
    assert (status.state, status.job.attempts) == (JobState.FAILED, 1), "not tried again"


async def rest(call: grpc.aio.UnaryStreamCall) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_an_unknown_item(api: Api) -> None:
    await api.refused(api.covers.GenerateCovers(Generate(item_id="gone")).read(), grpc.StatusCode.NOT_FOUND)


async def test_pools_stay_within_their_size(api: Api) -> None:
    await api.put("a", "red")
    for _ in range(3):
        await collect(api.covers.GenerateCovers(Generate(item_id="a", count=8)))
    covers = (await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="a"))).covers
    assert len(covers) == 16
    assert covers[0].provenance.origin == types_pb2.ORIGIN_CATALOGUE


class TestBackground:
    @pytest.fixture
    def config(self, tmp_path) -> Config:  # type: ignore[no-untyped-def]
        return Config(
            data_dir=str(tmp_path / "data"),
            port=0,
            preload=False,
            background_generation=True,
            made_covers="trusted",
            pool_min=2,
            exploration=0.0,
            drain_s=0.0,
        )

    async def test_a_thin_pool_is_filled_once(self, api: Api) -> None:
        await api.put("a", "red")
        request = covers_pb2.RecommendCoversRequest(item_ids=["a"])
        for _ in range(20):
            await api.covers.RecommendCovers(request)
        list_all = covers_pb2.ListCoversRequest(item_id="a")
        while len((await api.covers.ListCovers(list_all)).covers) < 2:
            await asyncio.sleep(0)
        assert len(api.generator.briefs) == 1
        await api.covers.RecommendCovers(request)
        assert await api.app.parts.store.queue.waiting() == 0

    async def test_covers_are_made_for_the_cluster_not_for_its_user(self, api: Api) -> None:
        await api.put("a", "red")
        await api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=[event("e", "mia", "a")]))
        await api.covers.RecommendCovers(covers_pb2.RecommendCoversRequest(user_id="mia", item_ids=["a"]))
        async with asyncio.timeout(10):
            while not api.generator.briefs:
                await asyncio.sleep(0)
        profile = (await api.behavior.GetProfile(behavior_pb2.GetProfileRequest(user_id="mia"))).profile
        (brief,) = api.generator.briefs
        np.testing.assert_array_equal(brief.user_embedding, directions().centroids[profile.taste])
        user = await api.app.parts.store.profiles.embedding("mia", MEAN)
        assert user is not None
        assert 0 < brief.user_embedding @ user < 0.99
        await api.behavior.ForgetUser(behavior_pb2.ForgetUserRequest(user_id="mia"))
        async with asyncio.timeout(10):
            while len((await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="a"))).covers) < 2:
                await asyncio.sleep(0)

    async def test_not_when_the_caller_says_so(self, api: Api) -> None:
        await api.put("a", "red")
        await api.covers.RecommendCovers(covers_pb2.RecommendCoversRequest(item_ids=["a"], no_generation=True))
        assert await api.app.parts.store.queue.waiting() == 0
        assert not api.generator.briefs
