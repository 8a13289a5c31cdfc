"""The server over Redis: two of them share one state, and one goes on while Redis is away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput
from eyecatch.stores.cached_profiles import CachedProfiles
from eyecatch.v1 import behavior_pb2, covers_pb2, types_pb2
from eyecatch.wiring.serve import application
from eyecatch.wiring.stores import open_stores

from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator
from tests.servers import RedisServer, running
from tests.unit.api.conftest import Api, event

pytestmark = pytest.mark.server

Recommend = covers_pb2.RecommendCoversRequest


@asynccontextmanager
async def serving(config: Config) -> AsyncIterator[Api]:
    generator = FakeGenerator()
    async with (
        application(config, generator, MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        yield Api(app, generator, channel)


async def test_what_one_server_learns_another_one_knows(
    config: Config, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.client.flushall()
    config = replace(config, store=redis_server.url, blob_url=str(tmp_path / "blobs"), profile_cache_s=0.0)
    async with serving(config) as one, serving(replace(config, data_dir=str(tmp_path / "other"))) as other:
        await one.put("a", "red", "blue")
        before = await other.covers.RecommendCovers(Recommend(user_id="mia", item_ids=["a"]))
        assert not before.personalised
        sent = behavior_pb2.RecordEventsRequest(events=[event("e1", "mia", "a")])
        assert (await one.behavior.RecordEvents(sent)).accepted == 1
        assert (await other.behavior.RecordEvents(sent)).ignored == 1
        after = await other.covers.RecommendCovers(Recommend(user_id="mia", item_ids=["a"]))
        assert after.personalised
        assert (await other.behavior.ForgetUser(behavior_pb2.ForgetUserRequest(user_id="mia"))).existed
        assert (await one.behavior.RecordEvents(sent)).ignored == 1
    async with serving(config) as again:
        assert (await again.covers.RecommendCovers(Recommend(user_id="noah", item_ids=["a"]))).items


async def test_recommendations_go_on_while_redis_is_away(config: Config, tmp_path: Path) -> None:
    with running() as server:
        config = replace(config, store=server.url, profile_cache_s=0.0)
        async with serving(config) as api:
            await api.put("a", "red", "blue")
            await api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=[event("e1", "mia", "a")]))
            assert (await api.covers.RecommendCovers(Recommend(user_id="mia", item_ids=["a"]))).personalised
            server.kill()
            for _ in range(3):
                answer = await api.covers.RecommendCovers(Recommend(user_id="mia", item_ids=["a"]))
                assert types_pb2.DEGRADED_PROFILE_UNAVAILABLE in answer.degraded
                assert answer.items
            server.start()


async def test_the_configuration_chooses_the_store(config: Config, redis_server: RedisServer) -> None:
    redis_server.client.flushall()
    async with open_stores(replace(config, store=redis_server.url)) as stores:
        assert isinstance(stores.profiles, CachedProfiles)
    async with open_stores(replace(config, store=redis_server.url, profile_cache_s=0.0)) as stores:
        assert not isinstance(stores.profiles, CachedProfiles)
    with pytest.raises(InvalidInput, match="redis://"):
        async with open_stores(replace(config, store="mysql://x")):
            pass
