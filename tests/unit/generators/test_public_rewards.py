"""Public rewards beside the starter's own in the in-process generator: by name and folder, refused where a folder holds another thing."""

from pathlib import Path

import numpy as np
import pytest
from eyecatch.config import Config
from eyecatch.core.drawing import Drawing
from eyecatch.core.errors import InvalidInput, Unavailable
from eyecatch.core.generator import Brief
from eyecatch.generators.local import LocalGenerator
from eyecatch.wiring.generator import scoring

from tests.unit.icg import tiny_judges as tiny


@pytest.fixture
def sources(tmp_path: Path) -> str:
    tiny.clip(tmp_path / "clip")
    tiny.clip(tmp_path / "pickscore")
    tiny.classifier(tmp_path / "safety", "normal", "nsfw")
    return ",".join(f"{name}={tmp_path / name}" for name in ("clip", "pickscore", "safety"))


async def test_covers_and_pictures_are_rated_by_them(sources: str) -> None:
    generator = LocalGenerator(rewards=sources)
    try:
        (cover,) = await generator.generate(
            [Brief("panda", (), np.zeros(64, np.float32), 1, Drawing(2))], lambda *_: None
        )
        (picture,) = await generator.score([cover.image], ["panda"])
    finally:
        await generator.close()
    for rewards in (cover.rewards, picture.rewards):
        assert {"relevance", "aesthetic", "pickscore", "safety"} <= set(rewards)
        assert 0 <= rewards["safety"] <= 1
    assert picture.rewards["pickscore"] == pytest.approx(cover.rewards["pickscore"], abs=1e-4)


async def test_a_folder_of_something_else_is_refused_at_the_start(tmp_path: Path) -> None:
    for sources, message in ((f"pickscore={tmp_path}", "pickscore|clip"), ("safety=/nowhere", "not a folder")):
        generator = LocalGenerator(rewards=sources)
        try:
            with pytest.raises(Unavailable, match=message):
                await generator.load()
        finally:
            await generator.close()


def test_names_are_checked_and_weights_apply() -> None:
    config = Config(rewards="clip=a,pickscore=b,opennsfw", reward_weights="pickscore=0.5", least_safety=0.7)
    specs = {spec.name: spec for spec in scoring(config, Path()).stored}
    assert specs["pickscore"].weight == 0.5
    assert specs["relevance"].mean == pytest.approx(0.28), "CLIP's, not the starter's"
    assert "safety" not in specs, "a gate has no weight"
    assert config.safety_gate() == 0.7
    assert Config(rewards="clip=a").safety_gate() is None
    with pytest.raises(InvalidInput, match=r"rewards.*beauty.*pickscore"):
        scoring(Config(rewards="beauty=x"), Path())
