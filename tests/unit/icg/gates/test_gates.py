"""The three gates together, and their failures in words."""

from pathlib import Path

import eyecatch
import numpy as np
import pytest
from icg import starter
from icg.brief import Brief
from icg.compose.cover import compose
from icg.draw.ask import anchoring
from icg.gates.gates import ARTIFACTS, DOMAIN, FIDELITY, Gates, gates
from PIL import Image

from tests.unit.icg.gates.test_fidelity import GROUND, poster

SAMPLE = Path(eyecatch.__file__).parent / "sample" / "images"


def test_failures_say_value_and_threshold() -> None:
    assert Gates(1.0, 1.0, 1.0).failures() == ()
    assert Gates(DOMAIN, FIDELITY, ARTIFACTS).failures() == ()
    assert Gates(1.0, 0.31, 1.0).failures() == (f"fidelity=0.31; allowed: at least {FIDELITY}",)
    assert [text.split("=")[0] for text in Gates(0.0, 0.0, 0.0).failures()] == ["domain", "fidelity", "artifacts"]
    assert len(Gates(float("nan"), 1.0, 1.0).failures()) == 1


@pytest.mark.parametrize("item", ["panda", "rocket", "castle"])
def test_an_emoji_of_the_starter_passes(item: str) -> None:
    picture = Image.open(SAMPLE / f"{item}-3d.webp")
    brief = Brief(item, (picture,), np.ones(64) / 8, **anchoring((picture,)))
    passed = gates(compose(brief, GROUND), brief, starter.path())
    assert passed.domain >= DOMAIN
    assert passed.fidelity >= FIDELITY


def test_an_item_without_a_picture_has_nothing_to_be_faithful_to() -> None:
    assert gates(GROUND, Brief("a"), starter.path()).fidelity == 1


def test_a_picture_that_is_only_read_is_not_in_the_cover() -> None:
    picture = poster()
    assert gates(GROUND, Brief("a", (picture,)), starter.path()).fidelity < FIDELITY
    assert gates(picture, Brief("a", (picture,)), starter.path()).fidelity >= FIDELITY
