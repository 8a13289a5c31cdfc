"""ForgetUser: what was drawn for that user alone goes with its images, also while it is being drawn; what is everybody's stays."""

import asyncio

import grpc
import numpy as np
import pytest
from eyecatch.core.errors import NotFound
from eyecatch.core.types import Job
from eyecatch.v1 import behavior_pb2, covers_pb2, types_pb2

from tests.contracts.builders import MEAN, unit
from tests.unit.api.conftest import Api, event

Generate = covers_pb2.GenerateCoversRequest


async def learn(api: Api, user: str) -> None:
    await api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=[event(f"like-{user}", user, "a")]))


async def generate(api: Api, **request: object) -> list[types_pb2.Cover]:
    return [u.cover async for u in api.covers.GenerateCovers(Generate(item_id="a", **request)) if u.HasField("cover")]


async def forget(api: Api, user: str) -> bool:
    answer = await api.behavior.ForgetUser(behavior_pb2.ForgetUserRequest(user_id=user))
    return bool(answer.existed)


async def pool(api: Api) -> set[str]:
    return {c.id for c in (await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="a"))).covers}


async def test_covers_of_one_user_go_and_all_others_stay(api: Api) -> None:
    await api.put("a", "red")
    covers = await pool(api)
    for user in ("mia", "noah"):
        await learn(api, user)
    mias = await generate(api, user_id="mia", count=2, seed=1, idempotency_key="mia")
    others = await generate(api, user_id="noah", seed=10) + await generate(api, seed=20)
    others += await generate(api, user_id="a stranger", seed=30)
    centroid = Job("cluster", "thin/a/x/3", "a", tuple(unit(3).tolist()), taste=3, seed=40)
    await api.app.parts.store.queue.put(centroid)
    api.app.worker.wake()
    async with asyncio.timeout(10):
        while len(await pool(api)) < 7:
            await asyncio.sleep(0)
    jobs = {c.provenance.job_id for c in mias}
    assert await forget(api, "mia")
    left = await pool(api)
    assert len(left) == 5
    assert left >= covers | {c.id for c in others}
    for cover in mias:
        with pytest.raises(NotFound):
            await api.app.parts.blobs.get(cover.uri)
    result = {id for id, _ in api.app.parts.index.search(np.ones(64, np.float32), 100)}
    assert result == left
    ranked = await api.covers.RankCovers(covers_pb2.RankCoversRequest(item_id="a", limit=100))
    assert {c.cover_id for c in ranked.covers} == left, "the pool in memory, too"
    for job in jobs:
        assert await api.app.parts.store.queue.status(job) is None, "it held the user's embedding"
    assert not await forget(api, "mia")
    again = await generate(api, user_id="mia", count=2, seed=1, idempotency_key="mia")
    assert {c.provenance.job_id for c in again}.isdisjoint(jobs)
    assert await forget(api, "mia"), "the job of her key names her"
    assert {c.id for c in again} <= await pool(api), "nothing is made for somebody without a profile"
    assert not await forget(api, "mia")


async def test_a_user_forgotten_while_their_cover_is_drawn(api: Api) -> None:
    await api.put("a", "red")
    await learn(api, "mia")
    before = await pool(api)
    api.generator.gate = asyncio.Event()
    call = asyncio.ensure_future(generate(api, user_id="mia"))
    async with asyncio.timeout(10):
        while not api.generator.briefs:
            await asyncio.sleep(0)
    assert await forget(api, "mia")
    api.generator.gate.set()
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    assert await pool(api) == before
    assert len(api.app.parts.index) == len(before)


async def test_a_replay_revives_nobody(api: Api) -> None:
    await api.put("a", "red")
    await learn(api, "mia")
    assert await forget(api, "mia")
    await learn(api, "mia")
    assert await api.app.parts.store.profiles.embedding("mia", MEAN) is None
    assert await generate(api, user_id="mia", seed=3)
    assert not await forget(api, "mia")
