"""Studios: bare places with props of known size."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
from icg.data.art import Subject, procedural
from icg.data.grounds.colours import PALETTES
from icg.data.sizes import SIZES, held_out
from icg.errors import IcgError
from icg.reliability.scenes.studios import COUNT, FREE, HEIGHTS, LAYOUTS, picture, spot

SIDE = 64
STUDIOS = range(2, COUNT)
"""The test's things, as wide as high, are too large for the smallest."""


def subjects() -> list[Subject]:
    titles = [title for sizes in SIZES.values() for title in sizes]
    return [replace(shape, title=title) for title, shape in zip(titles, cycle(procedural(12)))]


def pixels(index: int, palette: str = "mono") -> np.ndarray:
    return np.asarray(picture(index, palette, subjects(), SIDE), float)


def test_a_studio_is_the_same_picture_each_time_and_another_one_in_another_palette() -> None:
    assert (pixels(3) == pixels(3)).all()
    assert np.abs(pixels(3) - pixels(3, "night")).mean() > 30


def test_all_are_different() -> None:
    each = [pixels(index) for index in STUDIOS]
    assert min(np.abs(a - b).mean() for n, a in enumerate(each) for b in each[:n]) > 1


@pytest.mark.parametrize("index", STUDIOS)
def test_no_prop_stands_where_the_product_is_to_stand(index: int) -> None:
    """Between the props a row of the floor changes slowly; a prop or its edge would be a jump."""
    at = spot(index)
    row = pixels(index)[round((at.foot - 0.06) * SIDE)]
    free = row[round((FREE[0] + 0.08) * SIDE) : round((FREE[1] - 0.08) * SIDE)]
    assert np.abs(np.diff(free, axis=0)).max() < 12


def test_a_product_of_the_next_size_is_as_large_in_the_next_studio() -> None:
    shares = [spot(n * LAYOUTS).metre * height for n, height in enumerate(HEIGHTS)]
    assert shares == pytest.approx([shares[0]] * len(HEIGHTS))


def test_props_are_those_of_known_size_that_no_held_out_scene_has() -> None:
    known = {title for sizes in SIZES.values() for title in sizes if not held_out(title)}
    few = [s for s in subjects() if s.title not in known]
    with pytest.raises(IcgError, match="allowed: two props or more"):
        picture(0, next(iter(PALETTES)), few, SIDE)
