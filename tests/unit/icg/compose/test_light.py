"""A dark subject stands out from a dark ground, and grounds that set it off are left alone."""

import numpy as np
import pytest
from icg.compose.light import backlit
from PIL import Image, ImageDraw


def subject(colour: tuple[int, int, int], side: int = 256) -> Image.Image:
    picture = Image.new("RGBA", (side, side))
    ImageDraw.Draw(picture).ellipse((side // 4, side // 4, 3 * side // 4, 3 * side // 4), fill=(*colour, 255))
    return picture


def beside(picture: Image.Image) -> float:
    """Mean of channels next to the subject's outline."""
    return float(np.asarray(picture)[128, 56:62].mean())


@pytest.mark.parametrize("ground", [(40, 36, 80), (75, 60, 140), (0, 0, 0)])
def test_a_light_stands_behind_a_dark_subject_on_a_dark_ground(ground: tuple[int, int, int]) -> None:
    plain = Image.new("RGB", (256, 256), ground)
    lit = backlit(plain, subject((10, 10, 10)))
    assert beside(lit) > beside(plain) + 30
    corner = np.asarray(lit)[:8, :8].astype(int) - np.asarray(plain)[:8, :8]
    assert np.abs(corner).max() <= 2, "the light is behind the subject only"


@pytest.mark.parametrize(
    ("colour", "ground"),
    [
        pytest.param((10, 10, 10), (250, 200, 220), id="a dark one on a light ground"),
        pytest.param((250, 240, 230), (40, 36, 80), id="a light one on a dark ground"),
        pytest.param((250, 240, 230), (255, 255, 255), id="a light one on a light ground"),
    ],
)
def test_other_grounds_stay_as_they_were_drawn(colour: tuple[int, int, int], ground: tuple[int, int, int]) -> None:
    plain = Image.new("RGB", (256, 256), ground)
    assert backlit(plain, subject(colour)) is plain


def test_without_a_subject_there_is_no_light() -> None:
    plain = Image.new("RGB", (64, 64))
    assert backlit(plain, Image.new("RGBA", (64, 64))) is plain
