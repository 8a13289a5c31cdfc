"""GenerateCovers of one cover on the shipped starter: a stream that shows it before it is done."""

import io

import grpc
import numpy as np
from eyecatch.config import Config
from eyecatch.generators.local import LocalGenerator
from eyecatch.v1 import covers_pb2
from eyecatch.wiring.serve import application
from PIL import Image

from tests.contracts.builders import MEAN
from tests.unit.api.conftest import Api
from tests.unit.api.test_generation import collect


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB").resize((16, 16), Image.Resampling.BOX)


async def test_a_single_cover_is_seen_before_it_is_done(config: Config) -> None:
    generator = LocalGenerator()
    async with (
        application(config, generator, MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        api = Api(app, generator, channel)  # type: ignore[arg-type]
        await api.put("a", title="sunflower")
        request = covers_pb2.GenerateCoversRequest(item_id="a", count=1, steps=8, seed=5)
        progress, (cover,) = await collect(api.covers.GenerateCovers(request))
    calls = [p for p in progress if p.preview]
    assert calls, "of eight steps, from the fourth on"
    assert all(p.step >= 4 for p in calls)
    assert not any(p.preview for p in progress if 0 < p.step < 4)
    pixels = np.asarray(opened(cover.image), float).ravel()
    for p in calls:
        with Image.open(io.BytesIO(p.preview)) as picture:
            assert (picture.format, picture.size) == ("WEBP", (64, 64))
        assert np.corrcoef(np.asarray(opened(p.preview), float).ravel(), pixels)[0, 1] > 0.8
