"""The saliency network finds the subject of simple pictures, at any size and aspect."""

import numpy as np
import pytest
from icg.models.saliency import SIDE, load, saliency
from PIL import Image, ImageDraw, ImageFilter


def on_gradient(size: tuple[int, int]) -> Image.Image:
    ground = Image.linear_gradient("L").resize(size).convert("RGB")
    draw = ImageDraw.Draw(ground)
    width, height = size
    draw.ellipse((width * 0.3, height * 0.3, width * 0.7, height * 0.7), fill=(220, 40, 30))
    return ground.filter(ImageFilter.GaussianBlur(1))


@pytest.mark.parametrize("size", [(300, 300), (200, 400), (500, 120)])
def test_the_subject_is_where_it_is(size: tuple[int, int]) -> None:
    share = saliency(on_gradient(size))
    assert share.shape == (SIDE, SIDE)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    inside = np.hypot(x, y) < 0.2
    assert share[np.hypot(x, y) < 0.15].mean() > 0.8
    assert share[~inside].mean() < 0.1


@pytest.mark.parametrize("colour", ["white", "black", "red"])
def test_a_plain_picture_gives_finite_shares(colour: str) -> None:
    share = saliency(Image.new("RGB", (16, 1), colour))
    assert np.isfinite(share).all()
    assert 0 <= share.min() <= share.max() <= 1


def test_it_has_as_many_weights_as_published() -> None:
    assert sum(p.numel() for p in load().parameters()) == 1_125_485
