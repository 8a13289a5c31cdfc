"""Measurements of a picture without a network: exact on pictures painted for the test, mostly right on drawn scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
from icg.data.art import procedural
from icg.data.sizes import SIZES
from icg.reliability.labels import Availability
from icg.reliability.rules import measure
from icg.reliability.scenes.scenes import CONTRAST, EXTRA, Scene, Scenes, exact
from PIL import Image, ImageDraw

BOX = (44, 30, 84, 80)
"""Where the painted product stands: 40 wide, 50 high."""


def painted(
    lift: int | None = 0, ground: tuple[int, int, int] = (200, 190, 170), lump: tuple[int, int, int, int] | None = None
) -> tuple[Image.Image, Image.Image]:
    """A red box on a plain ground, with its shadow `lift` pixels below its foot or without one, and a lump of its colour."""
    picture, placed = Image.new("RGB", (128, 128), ground), Image.new("RGBA", (128, 128))
    draw, left, right, foot = ImageDraw.Draw(picture), BOX[0], BOX[2], BOX[3]
    if lift is not None:
        draw.rectangle((left, foot + lift - 3, right - 1, foot + lift + 3), fill=tuple(v // 2 for v in ground))
    placed.paste((210, 30, 30, 255), BOX)
    if lump is not None:
        picture.paste((210, 30, 30), lump)
    picture.paste(placed, (0, 0), placed)
    return picture, placed


def test_a_product_on_its_shadow_stands() -> None:
    geometry = measure(*painted())
    assert (geometry.gap, geometry.extra, geometry.scale) == (0.0, 0.0, 1.0)
    assert geometry.contrast > 2 * CONTRAST
    assert exact(geometry) is Availability.AVAILABLE


@pytest.mark.parametrize("lift", [10, 20, 35])
def test_a_product_above_its_shadow_floats(lift: int) -> None:
    geometry = measure(*painted(lift))
    assert geometry.gap == pytest.approx(lift / 50, abs=0.03)
    assert exact(geometry) is Availability.SPACE_MISMATCH


def test_a_product_without_a_shadow_stands_nowhere() -> None:
    assert measure(*painted(None)).gap == 1


@pytest.mark.parametrize(("lump", "area"), [((84, 45, 92, 65), 160), ((34, 40, 44, 52), 120), ((84, 40, 94, 60), 200)])
def test_a_lump_is_measured_by_its_area(lump: tuple[int, int, int, int], area: int) -> None:
    geometry = measure(*painted(lump=lump))
    assert geometry.extra == pytest.approx(area / (40 * 50), rel=0.05)
    assert (exact(geometry) is Availability.SHAPE_HALLUCINATION) == (area > EXTRA * 40 * 50)


def test_regions_apart_from_the_product_are_not_extra() -> None:
    assert measure(*painted(lump=(90, 40, 96, 60))).extra == 0


def test_a_product_of_the_ground_s_colour_is_lost() -> None:
    geometry = measure(*painted(ground=(205, 40, 40)))
    assert geometry.contrast == pytest.approx(15, abs=0.5), "5, 10 and 10 of red, green and blue"
    assert geometry.extra == 0, "the ground is not part of it"
    assert exact(geometry) is Availability.INDISTINCTIVENESS


def test_measures_do_not_depend_on_the_picture_size() -> None:
    for small in (painted(20), painted(lump=(84, 40, 94, 60))):
        large = measure(*(p.resize((512, 512), Image.Resampling.BICUBIC) for p in small))
        geometry = measure(*small)
        assert (large.gap, large.extra) == pytest.approx((geometry.gap, geometry.extra), abs=0.03)
        assert large.contrast == pytest.approx(geometry.contrast, rel=0.05, abs=2)


ScenesByKind = dict[str, list[Availability]]
KINDS: dict[str, Callable[[Scene], bool]] = {
    "available": lambda s: s.label is Availability.AVAILABLE,
    "floats": lambda s: s.geometry.gap > 0.4,
    "lost": lambda s: s.label is Availability.INDISTINCTIVENESS and s.severity > 0.6,
    "wrong size": lambda s: s.label is Availability.SIZE_MISMATCH,
}


@pytest.fixture(scope="module")
def scenes_by_kind() -> ScenesByKind:
    """The rules' verdicts on a few scenes of each kind."""
    titles = [title for sizes in SIZES.values() for title in sizes]
    subjects = [replace(shape, title=title) for title, shape in zip(titles, cycle(procedural(12)))]
    scenes = list(Scenes(subjects, available=0.15).stream(11, 70))
    return {
        kind: [exact(measure(s.picture, s.placed)) for s in [s for s in scenes if of(s)][:8]]
        for kind, of in KINDS.items()
    }


def share(verdicts: list[bool]) -> float:
    assert len(verdicts) >= 5
    return float(np.mean(verdicts))


def test_available_scenes_are_let_through(scenes_by_kind: ScenesByKind) -> None:
    """Nearly all are."""
    assert share([by is Availability.AVAILABLE for by in scenes_by_kind["available"]]) >= 0.85


def test_a_floating_product_is_found(scenes_by_kind: ScenesByKind) -> None:
    assert share([by is Availability.SPACE_MISMATCH for by in scenes_by_kind["floats"]]) >= 0.6


def test_a_lost_product_is_filtered(scenes_by_kind: ScenesByKind) -> None:
    """It may count as another defect: clutter and a ground of its colour look like several."""
    assert share([by is not Availability.AVAILABLE for by in scenes_by_kind["lost"]]) >= 0.8
    assert share([by is Availability.INDISTINCTIVENESS for by in scenes_by_kind["lost"]]) >= 0.25


def test_a_wrong_size_cannot_be_measured(scenes_by_kind: ScenesByKind) -> None:
    assert Availability.SIZE_MISMATCH not in {by for kind in scenes_by_kind.values() for by in kind}
    assert share([by is Availability.AVAILABLE for by in scenes_by_kind["wrong size"]]) >= 0.6
