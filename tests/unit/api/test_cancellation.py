"""GenerateCovers that is cancelled at any moment: without a key nothing of its work is left."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from eyecatch.api.covers import CoversServicer
from eyecatch.core.tastes.clusters import Tastes
from eyecatch.core.types import Item, JobState, JobStatus
from eyecatch.generate.hub import Hub
from eyecatch.generate.service import GenerationService
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.v1 import covers_pb2

from tests.contracts.builders import MEAN, job
from tests.unit.api.conftest import Api
from tests.unit.core.recommending.test_recommend import recommender
from tests.waiting import until

Generate = covers_pb2.GenerateCoversRequest


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore.open(tmp_path)
    yield store
    store.close()


@pytest.fixture
def service(store: SqliteStore) -> GenerationService:
    """Without a worker, so that jobs end only by their cancellation."""
    return GenerationService(store.queue, None, Hub(), Tastes(), store.clock)


async def cancelled(store: SqliteStore, job_id: str) -> bool:
    status = await store.queue.status(job_id)
    return status is not None and status.state is JobState.FAILED


async def test_a_request_cancelled_while_the_store_takes_it_leaves_no_job(
    store: SqliteStore, service: GenerationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    putting, go_on, put = asyncio.Event(), asyncio.Event(), store.queue.put

    async def slow_put(job: object) -> JobStatus:
        putting.set()
        await go_on.wait()
        return await put(job)  # type: ignore[arg-type]

    monkeypatch.setattr(store.queue, "put", slow_put)
    request = asyncio.ensure_future(service.request(job("j", item_id="a")))
    await putting.wait()
    request.cancel()
    await asyncio.wait([request])
    await service.cancel("j")
    go_on.set()
    await until(lambda: cancelled(store, "j"), "the job's cancellation")


async def test_a_stream_closed_between_two_messages_leaves_no_job(
    store: SqliteStore, service: GenerationService
) -> None:
    await store.catalog.upsert_items([Item("a", "A")])
    parts = recommender(True, True), service, store.catalog, store.profiles, MEAN, Tastes(), None, None, store.notes
    stream = CoversServicer(*parts).GenerateCovers(Generate(item_id="a"), None)  # type: ignore[arg-type]
    news = await anext(stream)
    await stream.aclose()
    await until(lambda: cancelled(store, news.progress.job_id), "the job's cancellation")


async def test_calls_cancelled_at_random_moments_leave_no_job(api: Api) -> None:
    await api.put("a", "red")
    api.generator.gate = asyncio.Event()
    moments = random.Random(5)

    async def one() -> None:
        call = api.covers.GenerateCovers(Generate(item_id="a"))
        for _ in range(moments.randrange(60)):
            await asyncio.sleep(0)
        call.cancel()

    for _ in range(10):
        await asyncio.gather(*(one() for _ in range(20)))

    async def all_over() -> bool:
        return not await api.app.parts.store.queue.waiting() and not api.app.worker.running

    await until(all_over, "the end of all jobs")
    assert api.generator.steps_done == 0


async def test_a_key_whose_covers_left_the_pool_is_refused(api: Api) -> None:
    await api.put("a", "red")
    request = Generate(item_id="a", idempotency_key="k")
    covers = [news.cover.id async for news in api.covers.GenerateCovers(request) if news.HasField("cover")]
    await api.app.parts.store.catalog.remove_covers(covers)

    async def again() -> list[covers_pb2.GenerateCoversResponse]:
        return [news async for news in api.covers.GenerateCovers(request)]

    await api.refused(again(), grpc.StatusCode.NOT_FOUND)
