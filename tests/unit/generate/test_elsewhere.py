"""A server whose covers are made by another process: progress, covers, pools, cancellation, budgets, dropped connections, forgetting."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput
from eyecatch.core.generator import Brief, GeneratedCover
from eyecatch.core.types import JobState
from eyecatch.reader_config import GenerateConfig
from eyecatch.stores.redis import RedisStore, keys
from eyecatch.v1 import behavior_pb2, covers_pb2, types_pb2
from eyecatch.wiring.serve import application

from tests.broker import Broker
from tests.contracts.builders import MEAN, cover
from tests.fakes import FakeGenerator
from tests.servers import RedisServer
from tests.unit.api.conftest import Api, event
from tests.unit.api.test_generation import collect
from tests.unit.generate.conftest import server_config, serving, value, working
from tests.waiting import until

Generate = covers_pb2.GenerateCoversRequest


class Gated(FakeGenerator):
    """Waits at the gate before the third step, having told of two."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()

    async def generate(
        self, briefs: Sequence[Brief], on_step: Callable[[int, int], None], on_preview: object = None
    ) -> Sequence[GeneratedCover]:
        self.briefs += briefs
        on_step(2, 4)
        await self.opened.wait()
        return [self._cover(brief) for brief in briefs]


@pytest.fixture
async def api(worker_config: GenerateConfig) -> AsyncIterator[Api]:
    async with serving(server_config(worker_config)) as api:
        await api.put("a", "red")
        yield api


async def rest(call: grpc.aio.UnaryStreamCall) -> list[types_pb2.Cover]:
    """The covers of a call that was read from already."""
    covers = []
    while (update := await call.read()) is not grpc.aio.EOF:
        covers += [update.cover] if update.HasField("cover") else []
    return covers


async def pool(api: Api) -> set[str]:
    """As the server ranks it, from memory."""
    answer = await api.covers.RankCovers(covers_pb2.RankCoversRequest(item_id="a", limit=100))
    return {cover.cover_id for cover in answer.covers}


async def test_progress_and_covers_of_a_job_that_runs_elsewhere(api: Api, worker_config: GenerateConfig) -> None:
    before = await pool(api)
    gated = Gated()
    call = api.covers.GenerateCovers(Generate(item_id="a", count=2, seed=5))
    assert (await call.read()).progress.queue_position == 1
    async with working(worker_config, gated):
        while (update := await call.read()).progress.step < 2:
            assert update.HasField("progress")
        assert (update.progress.queue_position, update.progress.total_steps) == (0, 4)
        gated.opened.set()
        covers = await rest(call)
    assert [c.provenance.seed for c in covers] == [5, 6]
    assert all(c.image for c in covers)
    assert not api.generator.briefs, "the server drew nothing"

    async def heard() -> bool:
        return await pool(api) == before | {c.id for c in covers}

    await until(heard, "the pool in memory hears of new covers")
    result = {id for id, _ in api.app.parts.index.search(np.ones(64, np.float32), 100)}
    assert result == before | {c.id for c in covers}


async def test_a_dropped_connection_joins_the_same_job_even_over_a_restart_of_the_server(
    worker_config: GenerateConfig,
) -> None:
    config, gated = server_config(worker_config), Gated()
    request = Generate(item_id="a", idempotency_key="k", seed=9)
    async with working(worker_config, gated):
        async with serving(config) as first:
            await first.put("a", "red")
            call = first.covers.GenerateCovers(request)
            job_id = (await call.read()).progress.job_id
            await until(lambda: bool(gated.briefs), "the job at work")
            call.cancel()
            again = first.covers.GenerateCovers(request)
            assert (await again.read()).progress.job_id == job_id
        with pytest.raises(grpc.aio.AioRpcError):
            await rest(again)
        async with serving(config) as second:
            call = second.covers.GenerateCovers(request)
            assert (await call.read()).progress.job_id == job_id
            gated.opened.set()
            (cover,) = await rest(call)
            assert cover.provenance.job_id == job_id
            _, (same,) = await collect(second.covers.GenerateCovers(request))
            assert same.id == cover.id
    assert len(gated.briefs) == 1


async def test_the_embedded_server_joins_the_same_job_over_a_restart(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path), port=0, exploration=0.0, drain_s=0.0)
    request = Generate(item_id="a", idempotency_key="k")
    async with serving(config) as first:
        await first.put("a", "red")
        first.generator.gate = asyncio.Event()
        call = first.covers.GenerateCovers(request)
        job_id = (await call.read()).progress.job_id
        await until(lambda: bool(first.generator.briefs), "the job at work")
    with pytest.raises(grpc.aio.AioRpcError):
        await rest(call)
    async with serving(config) as second:
        _, (cover,) = await collect(second.covers.GenerateCovers(request))
        assert cover.provenance.job_id == job_id


async def test_a_caller_who_goes_away_stops_the_denoiser_elsewhere(api: Api, worker_config: GenerateConfig) -> None:
    async with working(worker_config, Gated()) as (running, gated):
        call = api.covers.GenerateCovers(Generate(item_id="a"))
        job_id = (await call.read()).progress.job_id
        await until(lambda: bool(gated.briefs), "the job at work")
        call.cancel()
        await until(lambda: value(running, "jobs_total", outcome="dropped") == 1, "its end")
        status = await running.queue.status(job_id)
        assert status is not None
        assert (status.state, status.error) == (JobState.FAILED, "the caller went away")


async def test_a_budget_refuses_with_its_reason(api: Api, worker_config: GenerateConfig) -> None:
    async with working(worker_config, budget_per_item=3):
        _, covers = await collect(api.covers.GenerateCovers(Generate(item_id="a", count=2)))
        assert len(covers) == 2
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await collect(api.covers.GenerateCovers(Generate(item_id="a", count=2)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "over budget: 3 covers an hour of one item" in (caught.value.details() or "")
        assert len((await collect(api.covers.GenerateCovers(Generate(item_id="a"))))[1]) == 1


async def test_a_broker_that_is_away_is_said_and_leaves_no_job(worker_config: GenerateConfig) -> None:
    config = replace(server_config(worker_config), kafka="127.0.0.1:1")
    async with serving(config) as api:
        await api.put("a", "red")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await collect(api.covers.GenerateCovers(Generate(item_id="a", idempotency_key="k")))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "no broker listens" in (caught.value.details() or "")
        assert await api.app.parts.store.queue.waiting() == 0


async def test_what_one_user_likes_stays_out_of_the_topic_and_is_forgotten(
    kafka: Broker, api: Api, worker_config: GenerateConfig
) -> None:
    before = await pool(api)
    sent = behavior_pb2.RecordEventsRequest(events=[event("e", "mia", "a")])
    async with serving(replace(server_config(worker_config), kafka="", generation="here")) as recorder:
        await recorder.behavior.RecordEvents(sent)
    async with working(worker_config, Gated()) as (running, gated):
        call = api.covers.GenerateCovers(Generate(item_id="a", user_id="mia"))
        await call.read()
        await until(lambda: bool(gated.briefs), "the job at work")
        assert gated.briefs[0].user_embedding.any()
        (record,) = kafka.records(worker_config.requests_topic)
        assert len(record.value or b"") < 200, "no embedding in it"
        assert (await api.behavior.ForgetUser(behavior_pb2.ForgetUserRequest(user_id="mia"))).existed
        with pytest.raises(grpc.aio.AioRpcError):
            await rest(call)
        await until(lambda: value(running, "jobs_total", outcome="dropped") == 1, "its end")
        kafka.produce(worker_config.requests_topic, [(record.key, record.value)])
        await until(lambda: value(running, "requests_total", outcome="known") == 1, "the replay")
        assert len(gated.briefs) == 1
    assert await pool(api) == before


async def test_workers_need_a_broker_and_a_store(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="generation"):
        async with application(Config(data_dir=str(tmp_path), port=0, generation="workers"), FakeGenerator(), MEAN):
            pass


async def test_two_servers_on_one_redis_wake_and_hear_each_other(worker_config: GenerateConfig) -> None:
    """Without Kafka: each draws, takes what the other one was asked, and knows the covers of both."""
    config = replace(server_config(worker_config), kafka="", generation="here")
    async with serving(config) as one, serving(config) as other:
        await one.put("a", "red")
        before = await pool(other)
        one.generator.gate = asyncio.Event()
        stuck = asyncio.ensure_future(collect(one.covers.GenerateCovers(Generate(item_id="a"))))
        await until(lambda: bool(one.generator.briefs or other.generator.briefs), "a job")
        one.generator.gate.set()
        _, (cover,) = await stuck

        async def heard() -> bool:
            return await pool(other) == await pool(one) == before | {cover.id}

        await until(heard, "both pools")
        assert cover.provenance.origin == types_pb2.ORIGIN_GENERATED


async def test_covers_of_a_user_forgotten_at_one_server_leave_the_memory_of_all(worker_config: GenerateConfig) -> None:
    config = replace(server_config(worker_config), kafka="", generation="here")
    async with serving(config) as one, serving(config) as other:
        await one.put("a", "red")
        before = await pool(one)
        await one.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=[event("e", "mia", "a")]))
        _, (new,) = await collect(one.covers.GenerateCovers(Generate(item_id="a", user_id="mia")))

        async def pools_are(ids: set[str]) -> bool:
            return await pool(one) == await pool(other) == ids

        await until(lambda: pools_are(before | {new.id}), "both pools")
        assert (await one.behavior.ForgetUser(behavior_pb2.ForgetUserRequest(user_id="mia"))).existed
        await until(lambda: pools_are(before), "its being forgotten")


async def test_a_server_that_missed_too_much_reads_all_again(
    redis_server: RedisServer, worker_config: GenerateConfig
) -> None:
    async with serving(replace(server_config(worker_config), kafka="", generation="here")) as api:
        await api.put("a", "red")
        before = await pool(api)
        behind = await RedisStore.open(redis_server.url)
        await behind.catalog.add_covers([cover("new", "a")])
        await behind.close()
        assert await pool(api) == before
        redis_server.client.incr(keys.CHANGES)  # something that is not listed any more

        async def heard() -> bool:
            return await pool(api) == before | {"new"}

        await until(heard, "the whole catalogue")
        result = {id for id, _ in api.app.parts.index.search(np.ones(64, np.float32), 100)}
        assert result == before | {"new"}
