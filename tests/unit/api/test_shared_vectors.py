"""Users' own vectors on a shared store: one server takes them, another process fits the map, and a second server knows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eyecatch.config import Config
from eyecatch.upkeep import vectors as upkeep

from tests.contracts.builders import MEAN
from tests.servers import RedisServer
from tests.unit.api.test_shared_store import serving
from tests.unit.api.test_vectors import count, embedding, first_colour, simulate, upsert, vector_of

pytestmark = pytest.mark.server


async def test_servers_use_a_map_that_another_process_fitted(
    config: Config, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.client.flushall()
    config = replace(config, store=redis_server.url, blob_url=str(tmp_path / "blobs"), profile_cache_s=0.0)
    async with serving(config) as one, serving(replace(config, data_dir=str(tmp_path / "other"))) as other:
        await simulate(one, 60)
        vector = vector_of("red", np.random.default_rng(3))
        await upsert(one, embedding("mia", *vector))
        assert (await first_colour(other, "mia"))[1] is False, "no map yet"
        assert (await upkeep.fit(other.app.parts.store, MEAN)).reached == 61
        assert (await first_colour(one, "mia")) == ("red", True)
        await upsert(other, embedding("noah", *vector))
        assert (await first_colour(one, "noah")) == ("red", True), "mapped where it arrived"
        assert await count(one) == 62
        keys = " ".join(key.decode() for key in redis_server.client.keys("ec:v:*"))
        assert len(keys.split()) == 62
        assert "mia" not in keys, "digests, no user ids"
