"""/metrics of a server: its calls by method and status, its line of jobs, what runs."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from eyecatch.config import Config
from eyecatch.v1 import covers_pb2
from eyecatch.wiring.serve import application

from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator
from tests.servers import free_port
from tests.unit.api.conftest import Api
from tests.waiting import until

RECOMMEND = 'rpc_method="eyecatch.v1.CoversService/RecommendCovers"'


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data_dir=str(tmp_path / "data"), port=0, metrics_port=free_port(), drain_s=0.0)


@pytest.fixture
async def api(config: Config) -> AsyncIterator[Api]:
    async with (
        application(config, FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        yield Api(app, FakeGenerator(), channel)


def value(config: Config, *parts: str) -> float:
    """Of the line of /metrics with all of `parts`; -1 without one."""
    with urlopen(f"http://127.0.0.1:{config.metrics_port}/metrics", timeout=20) as page:
        lines = page.read().decode().splitlines()
    values = [line for line in lines if line[0] != "#" and all(part in line for part in parts)]
    return float(values[0].rpartition(" ")[2]) if values else -1.0


async def test_calls_are_counted_by_method_and_status(api: Api, config: Config) -> None:
    await api.put("a", "red")
    for _ in range(3):
        await api.covers.RecommendCovers(covers_pb2.RecommendCoversRequest(user_id="u", item_ids=["a"]))
    await api.refused(api.covers.RecommendCovers(covers_pb2.RecommendCoversRequest(item_ids=[""])))
    count = "rpc_server_call_duration_seconds_count"
    await until(lambda: value(config, count, RECOMMEND, '"OK"') == 3, "three calls")
    await until(lambda: value(config, count, RECOMMEND, '"INVALID_ARGUMENT"') == 1, "a refused call")
    assert 0 < value(config, "rpc_server_call_duration_seconds_sum", RECOMMEND, '"OK"') < 60
    assert value(config, "_bucket", RECOMMEND, '"OK"', 'le="+Inf"') == 3


async def test_the_state_of_the_server_is_shown(api: Api, config: Config) -> None:
    await api.put("a", "red")
    await api.covers.RecommendCovers(covers_pb2.RecommendCoversRequest(user_id="u", item_ids=["a"]))
    assert value(config, "eyecatch_cached_items") == 1
    assert value(config, "eyecatch_waiting_decisions") >= 0
    assert value(config, "eyecatch_degraded_answers_total", "covers_unavailable") == 0
    assert value(config, "eyecatch_build_info{") == 1
    assert value(config, "process_resident_memory_bytes") > 1e6


async def test_pools_rewards_and_exploration_are_shown(config: Config) -> None:
    async with (
        application(replace(config, exploration=1.0), FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        api = Api(app, FakeGenerator(), channel)
        await api.put("a", "red", "blue", "green")
        await api.put("b", "red")
        for _ in range(2):
            await api.covers.RecommendCovers(covers_pb2.RecommendCoversRequest(item_ids=["a", "b"]))
        items = "eyecatch_ranked_items_total"
        assert [value(config, items, f'"{choice}"') for choice in ("all", "explored", "trial")] == [4, 4, 0]
        buckets = [value(config, "eyecatch_pool_covers_bucket", f'le="{bound}"') for bound in (0, 1, 2, 4, "+Inf")]
        assert buckets == [0, 1, 1, 2, 2]
        low, high = (value(config, "eyecatch_reward{", f'quantile="{each}"') for each in (0.1, 0.9))
        assert low <= high
