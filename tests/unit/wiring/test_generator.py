"""Which generator a configuration gives."""

from pathlib import Path

import pytest
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput
from eyecatch.generators.local import LocalGenerator
from eyecatch.generators.triton import TritonGenerator
from eyecatch.settings import resolved
from eyecatch.wiring.generator import engaging, make_generator
from icg import starter


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
