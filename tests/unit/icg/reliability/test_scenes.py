"""Drawn product pictures: their labels agree with measurements."""

from collections import Counter
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
from icg.data.art import Subject, procedural
from icg.data.sizes import SIZES, held_out, word
from icg.errors import IcgError
from icg.reliability.labels import Availability
from icg.reliability.scenes.scenes import CONTRAST, EXTRA, GAP, SCALE, SIDE, Geometry, Scene, Scenes, exact
from icg.train.studies.scenes_sheet import COLUMNS, sheet

HEIGHTS = {title: height for sizes in SIZES.values() for title, height in sizes.items()}


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    """Coloured shapes with the names of things of known size."""
    return [replace(shape, title=title) for title, shape in zip(HEIGHTS, cycle(procedural(12)))]


@pytest.fixture(scope="module")
def scenes(subjects: list[Subject]) -> list[Scene]:
    return list(Scenes(subjects, classes=6).stream(3, 150))


def of(scenes: list[Scene], label: Availability) -> list[Scene]:
    """The scenes of a class, without products of low contrast, whose saliency is no higher than a prop's."""
    clear = 0.0 if label is Availability.INDISTINCTIVENESS else 30.0
    matching = [s for s in scenes if s.label is label and s.geometry.contrast >= clear]
    assert len(matching) >= 5
    return matching


def rows(scene: Scene) -> tuple[int, int]:
    """First and last row of the product, from the saliency."""
    indices = np.nonzero((scene.saliency > 0.36).any(1))[0]
    return int(indices.min()), int(indices.max()) + 1


def nearness(scene: Scene) -> float:
    return float(np.median(scene.depth[scene.saliency > 0.36]))


def foot(scene: Scene) -> int:
    """The row where the ground is as near as the product. Things are nearer than the ground they hide."""
    return int(np.abs(scene.depth.min(1) - nearness(scene)).argmin())


def test_a_scene_depends_on_seed_and_number_alone(subjects: list[Subject]) -> None:
    one, again = Scenes(subjects), Scenes(subjects)
    list(one.stream(5, 3))
    for a, b in zip(one.stream(7, 4), (again.scene(7, n) for n in range(4)), strict=True):
        assert a.picture.tobytes() == b.picture.tobytes()
        assert np.array_equal(a.depth, b.depth)
        assert (a.caption, a.label, a.severity, a.geometry) == (b.caption, b.label, b.severity, b.geometry)
    assert one.scene(7, 0).picture.tobytes() != one.scene(8, 0).picture.tobytes()


def test_every_class_occurs_and_agrees_with_its_geometry(scenes: list[Scene], subjects: list[Subject]) -> None:
    counts = Counter(s.label for s in scenes)
    assert set(counts) == set(Availability)
    assert 0.3 < counts[Availability.AVAILABLE] / len(scenes) < 0.5
    assert all(exact(s.geometry) is s.label for s in scenes)
    assert all((s.severity > 0) == (s.label is not Availability.AVAILABLE) for s in scenes)
    assert Availability.UNSUITABLE not in {s.label for s in Scenes(subjects).stream(3, 60)}


def test_shapes_and_ranges(scenes: list[Scene]) -> None:
    for scene in scenes[:20]:
        assert scene.picture.mode, scene.product.mode == ("RGB", "RGBA")
        assert scene.picture.size == scene.product.size == (SIDE, SIDE)
        for cue in (scene.depth, scene.saliency):
            assert cue.shape == (SIDE, SIDE)
            assert cue.dtype == np.float32
            assert cue.min() >= 0
            assert cue.max() <= 1
        assert scene.depth[-1].mean() > scene.depth[0].mean(), "the ground comes nearer"
        assert scene.title in scene.caption


def test_available_products_stand_on_the_ground_in_their_size(scenes: list[Scene]) -> None:
    for scene in of(scenes, Availability.AVAILABLE):
        top, bottom = rows(scene)
        assert abs(foot(scene) - bottom) <= 3
        true = HEIGHTS[scene.title] * scene.metre * nearness(scene) * SIDE
        assert bottom - top == pytest.approx(true, rel=0.1, abs=3)
        assert scene.geometry.contrast >= CONTRAST


def test_defects_agree_with_their_recorded_geometry(scenes: list[Scene]) -> None:
    for scene in of(scenes, Availability.SIZE_MISMATCH):
        top, bottom = rows(scene)
        true = HEIGHTS[scene.title] * scene.metre * nearness(scene) * SIDE
        assert (bottom - top) / true == pytest.approx(scene.geometry.scale, rel=0.25)
        assert not 1 / SCALE < scene.geometry.scale < SCALE
    for scene in of(scenes, Availability.SPACE_MISMATCH):
        top, bottom = rows(scene)
        if scene.geometry.gap > 0.2:
            assert foot(scene) - bottom > 0.5 * scene.geometry.gap * (bottom - top), "it hangs above its foot"
    for scene in of(scenes, Availability.INDISTINCTIVENESS):
        assert scene.geometry.contrast < CONTRAST


def test_the_contact_sheet_has_a_row_for_each_class(subjects: list[Subject]) -> None:
    page = sheet(Scenes(subjects, classes=6), 2)
    assert page.size[0] >= COLUMNS * SIDE
    assert page.size[1] >= len(Availability) * SIDE
    with pytest.raises(IcgError, match="classes=5; allowed: 6"):
        sheet(Scenes(subjects), 2)


def test_rules() -> None:
    assert exact(Geometry()) is Availability.AVAILABLE
    assert exact(Geometry(gap=-GAP - 0.01)) is Availability.SPACE_MISMATCH
    assert exact(Geometry(scale=1 / SCALE - 0.01)) is Availability.SIZE_MISMATCH
    assert exact(Geometry(contrast=CONTRAST - 1)) is Availability.INDISTINCTIVENESS
    assert exact(Geometry(extra=EXTRA + 0.01, gap=1)) is Availability.SHAPE_HALLUCINATION
    assert exact(Geometry(whole=0.5, extra=1)) is Availability.UNSUITABLE


def test_held_out_scenes_share_no_product_and_no_prop(subjects: list[Subject]) -> None:
    names = [
        {title for s in Scenes(subjects, held).stream(1, 40) for title in (s.title, *s.props)} for held in (False, True)
    ]
    assert not names[0] & names[1]
    assert all(held_out(title) for title in names[1])
    assert 0.1 < np.mean([held_out(title) for title in HEIGHTS]) < 0.4


def test_size_words() -> None:
    assert [word(h) for h in (0.08, 0.2, 0.5, 1.5, 8.0)] == ["tiny", "small", "medium", "large", "huge"]


def test_too_few_objects_of_known_size_are_refused() -> None:
    with pytest.raises(IcgError, match="subjects=12 with 0 of known size; allowed: three"):
        Scenes(procedural(12))
