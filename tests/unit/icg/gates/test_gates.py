"""The three gates together, and their failures in words."""

from dataclasses import replace
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


@pytest.mark.parametrize("item", ["panda-3d", "rocket-flat", "castle-painted", "rocket-ink", "crown-ink"])
def test_an_emoji_of_the_starter_passes(item: str) -> None:
    picture = Image.open(SAMPLE / f"{item}.webp")
    brief = Brief(item, (picture,), np.ones(64) / 8, **anchoring((picture,)))
    passed = gates(compose(brief, GROUND), brief, starter.path())
    assert passed.domain >= DOMAIN
    assert passed.fidelity >= FIDELITY


@pytest.mark.parametrize("item", ["panda-3d", "rocket-ink", "crown-ink"])
def test_what_alpha_says_is_opaque_must_be_there(item: str) -> None:
    picture = Image.open(SAMPLE / f"{item}.webp").convert("RGBA")
    box, bitten = picture.getbbox(), picture.copy()
    bitten.paste((0, 0, 0, 0), (box[0], box[1], (box[0] + box[2]) // 2, box[3]))
    brief = Brief(item, (picture,), np.ones(64) / 8, **anchoring((picture,)))
    cover = compose(replace(brief, product=bitten), GROUND)
    assert gates(cover, brief, starter.path()).fidelity < FIDELITY


def test_an_enlarged_ground_is_read_as_it_was_drawn() -> None:
    rocket = Image.open(SAMPLE / "rocket-flat.webp")
    brief = Brief("rocket", (rocket,), np.ones(64) / 8, **anchoring((rocket,)))
    cover = compose(brief, poster(size=brief.size))
    assert max(cover.size) == 320
    small = cover.resize(brief.size, Image.Resampling.LANCZOS)
    assert gates(cover, brief, starter.path()).artifacts == gates(small, brief, starter.path()).artifacts


def test_an_item_without_a_picture_has_nothing_to_be_faithful_to() -> None:
    assert gates(GROUND, Brief("a"), starter.path()).fidelity == 1


def test_a_picture_that_is_only_read_is_not_in_the_cover() -> None:
    picture = poster()
    assert gates(GROUND, Brief("a", (picture,)), starter.path()).fidelity < FIDELITY
    assert gates(picture, Brief("a", (picture,)), starter.path()).fidelity >= FIDELITY
