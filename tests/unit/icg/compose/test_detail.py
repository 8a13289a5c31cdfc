"""Sharper edges: a soft edge comes nearer to the hard one, and even parts stay as they are."""

import numpy as np
import pytest
from icg.compose.detail import edges, luminance, sharpened
from PIL import Image, ImageFilter

HARD = Image.fromarray(np.kron(np.array([[60, 200], [200, 60]], np.uint8), np.ones((128, 128), np.uint8))).convert(
    "RGB"
)


def test_a_soft_edge_comes_nearer_to_the_hard_one() -> None:
    soft = HARD.filter(ImageFilter.GaussianBlur(2))
    clear = sharpened(soft, 1.0)
    distances = [np.abs(np.asarray(p, float) - np.asarray(HARD, float)).mean() for p in (soft, clear)]
    assert distances[1] < 0.9 * distances[0]
    assert edges(luminance(clear)).max() > 1.2 * edges(luminance(soft)).max()


def test_even_parts_stay_as_they_are_and_nothing_is_done_for_nothing() -> None:
    clear = np.asarray(sharpened(HARD.filter(ImageFilter.GaussianBlur(2)), 1.0))
    assert (clear[40:80, 40:80] == 60).all()
    assert sharpened(HARD, 0.0) is HARD


@pytest.mark.parametrize("side", [64, 512])
def test_it_is_the_same_at_every_size(side: int) -> None:
    small = HARD.resize((side, side), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(side / 128))
    gain = edges(luminance(sharpened(small, 1.0))).max() / edges(luminance(small)).max()
    assert gain == pytest.approx(1.3, abs=0.05)
