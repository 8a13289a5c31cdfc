"""A repeated idempotency key: the same request joins its job, another one is a conflict. Over SQLite and over Redis."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from eyecatch.config import Config
from eyecatch.core.behaviour.tokens import user_tag
from eyecatch.core.tastes.clusters import directions
from eyecatch.core.tastes.segments import save
from eyecatch.core.types import Job
from eyecatch.v1 import behavior_pb2, covers_pb2

from tests.contracts.builders import unit
from tests.servers import RedisServer
from tests.unit.api.conftest import Api, event
from tests.unit.api.test_generation import collect

Generate = covers_pb2.GenerateCoversRequest


@pytest.fixture(params=["sqlite", "redis"])
def config(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> Config:
    redis_server.client.flushall()
    here = Config(data_dir=str(tmp_path / "data"), port=0, exploration=0.0, drain_s=0.0)
    return here if request.param == "sqlite" else replace(here, store=redis_server.url)


async def ids(api: Api, **fields: Any) -> list[str]:
    _, covers = await collect(api.covers.GenerateCovers(Generate(item_id="a", idempotency_key="k", **fields)))
    return [cover.id for cover in covers]


async def conflict(api: Api, **fields: Any) -> None:
    other = Generate(item_id="a", idempotency_key="k", **fields)
    await api.refused(api.covers.GenerateCovers(other).read(), grpc.StatusCode.ALREADY_EXISTS)


async def like(api: Api, user: str, item: str) -> None:
    record = behavior_pb2.RecordEventsRequest(events=[event(f"{user} likes {item}", user, item)])
    await api.behavior.RecordEvents(record)


async def test_a_personal_cover_is_for_its_user_alone(api: Api) -> None:
    await api.put("a", "red")
    await like(api, "mia", "a")
    first = await ids(api, user_id="mia")
    assert await ids(api, user_id="mia") == first
    await conflict(api, user_id="noah")
    await conflict(api)
    assert len(api.generator.briefs) == 1


async def test_a_user_whose_taste_moved_is_the_same_user(api: Api) -> None:
    await api.put("a", "red")
    await api.put("b", "blue")
    await like(api, "mia", "a")
    first = await ids(api, user_id="mia")
    await like(api, "mia", "b")
    assert await ids(api, user_id="mia") == first


async def test_a_user_who_begins_to_like_something_is_the_same_user(api: Api) -> None:
    await api.put("a", "red")
    first = await ids(api, user_id="mia")
    await conflict(api, user_id="noah")
    await like(api, "mia", "a")
    assert await ids(api, user_id="mia") == first


async def test_another_segment_is_another_request(api: Api) -> None:
    await api.put("a", "red")
    clusters, notes = directions(), api.app.parts.store.notes
    segments = [{"id": str(n), "name": f"Group {n}", "embedding": clusters.centroids[n].tolist()} for n in range(2)]
    await save(notes, clusters, segments)
    first = await ids(api, segment="Group 0")
    assert await ids(api, segment="group 0") == first
    await conflict(api, segment="Group 1")
    await save(notes, clusters, [segment | {"looks": ["navy"]} for segment in segments])
    assert await ids(api, segment="Group 0") == first, "the words of a segment may be edited meanwhile"
    await conflict(api)
    await conflict(api, user_id="mia")


async def test_another_seed_is_another_request(api: Api) -> None:
    await api.put("a", "red")
    first = await ids(api, seed=5)
    assert await ids(api, seed=5) == first
    await conflict(api, seed=6)
    await conflict(api)


async def test_a_seed_left_open_both_times_is_the_same_request(api: Api) -> None:
    await api.put("a", "red")
    first = await ids(api)
    assert await ids(api) == first
    await conflict(api, seed=5)


async def test_another_knob_is_another_request(api: Api) -> None:
    await api.put("a", "red")
    await ids(api, steps=8)
    await conflict(api, steps=9)
    await conflict(api)


@pytest.mark.parametrize("made_for", [user_tag("mia"), ""])
async def test_a_job_of_the_version_before_is_joined_by_its_user(api: Api, made_for: str) -> None:
    await api.put("a", "red")
    embedding = tuple(unit(3).tolist()) if made_for else ()
    await api.app.parts.store.queue.put(Job("old", "call/k", "a", embedding, seed=9, made_for=made_for))
    await ids(api, user_id="mia")
    await ids(api, user_id="mia", seed=9)
    await conflict(api, user_id="mia", seed=8)
    if made_for:
        await conflict(api, user_id="noah")
        await conflict(api)
    assert [brief.seed for brief in api.generator.briefs] == [9]


async def test_the_job_of_a_forgotten_user_is_forgotten_also_without_a_taste(api: Api) -> None:
    await api.put("a", "red")
    first = await ids(api, user_id="mia")
    await api.behavior.ForgetUser(behavior_pb2.ForgetUserRequest(user_id="mia"))
    assert await ids(api, user_id="mia") != first, "a new job"
