"""Which generator a configuration gives."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from eyecatch.config import Config
from eyecatch.core.defaults import SCORING
from eyecatch.core.errors import InvalidInput, NotReady, StoreError
from eyecatch.core.score import Scoring
from eyecatch.encoders.learned import reward_scales
from eyecatch.generators.local import LocalGenerator
from eyecatch.generators.triton import TritonGenerator
from eyecatch.settings import resolved
from eyecatch.wiring.generator import engaging, make_generator, scoring
from eyecatch.wiring.stores import open_stores
from icg import starter
from icg.checkpoints import SHIPPED, SPACE

from tests.contracts.builders import cover, item
from tests.spaces import another_space


async def test_servers_that_are_named_draw_and_otherwise_this_process() -> None:
    here = make_generator(Config(), starter.path())
    assert isinstance(here, LocalGenerator)
    await here.close()
    there = make_generator(resolved(Config, {}, {"EYECATCH_TRITON": "a:8001, [::1]:8001"}), starter.path())
    assert isinstance(there, TritonGenerator)
    assert [each.address for each in there.endpoints.all] == ["a:8001", "[::1]:8001"]
    await there.close()


@pytest.mark.parametrize(("weights", "read"), [("", False), ("engagement=0", False), ("engagement=0.5", True)])
def test_covers_are_read_for_engagement_where_it_has_a_weight(weights: str, read: bool) -> None:
    assert engaging(Config(reward_weights=weights)) is read


@pytest.mark.parametrize("servers", ["gpu-1", "gpu-1:8001,gpu-2", ":8001", "http://gpu-1"])
def test_what_is_no_address_is_named(servers: str) -> None:
    with pytest.raises(InvalidInput, match="triton: got"):
        make_generator(Config(triton=servers), Path())


def test_scores_have_the_scales_of_the_configured_space(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / SPACE, tmp_path / "space")
    scales = {"relevance": {"mean": 0.0, "deviation": 0.1, "weight": 0.0}, "aesthetic": {"mean": 0.5, "deviation": 0.2}}
    (tmp_path / "space" / "scales.json").write_text(json.dumps(scales))
    config = Config(space=str(tmp_path / "space"), reward_weights="aesthetic=0.7")
    stored = scoring(config, starter.path()).stored
    assert [(spec.name, spec.weight, spec.mean) for spec in stored] == [
        ("aesthetic", 0.7, 0.5),
        ("reliability", 0.25, 0.5),
    ]
    assert scoring(Config(), starter.path()) == Scoring.parse("", SCORING.scaled(reward_scales(starter.path())))


async def test_covers_of_another_space_are_refused_until_they_are_embedded_anew(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path))
    async with open_stores(config) as stores:
        await stores.catalog.upsert_items([item("a")], [cover("c", "a")])
    other = replace(config, space=str(another_space(tmp_path / "space")))
    with pytest.raises(StoreError, match="items reembed"):
        async with open_stores(other):
            pass
    with pytest.raises(NotReady, match=r"projection.safetensors is missing"):
        async with open_stores(replace(config, space=str(tmp_path))):
            pass
