"""Cutting out on a plain ground: the whole subject, or nothing."""

import numpy as np
import pytest
from icg.compose.cut_out import component, cut_out
from PIL import Image, ImageDraw, ImageFilter


def test_a_picture_without_a_plain_ground_is_not_cut() -> None:
    assert cut_out(Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))) is None


@pytest.mark.parametrize("colour", ["white", "black"])
def test_nothing_but_ground_is_not_cut(colour: str) -> None:
    assert cut_out(Image.new("RGB", (64, 64), colour)) is None


def test_a_pale_subject_stays_whole() -> None:
    picture = Image.new("RGB", (96, 96), "white")
    picture.paste((246, 244, 250), (20, 20, 76, 76))
    product = cut_out(picture)
    assert product is not None
    alpha = np.asarray(product)[..., 3]
    assert (alpha[20:76, 20:76] == 255).all()
    assert alpha.sum() == 56 * 56 * 255


def test_a_subject_that_fades_into_the_ground_is_not_bitten() -> None:
    picture = Image.new("RGB", (128, 128), "black")
    ImageDraw.Draw(picture).ellipse((34, 34, 94, 94), fill=(120, 110, 90))
    assert cut_out(picture.filter(ImageFilter.GaussianBlur(14))) is None
    assert cut_out(picture.filter(ImageFilter.GaussianBlur(1))) is not None


def test_a_picture_that_reaches_the_border_is_not_cut() -> None:
    picture = Image.new("RGB", (96, 96), "black")
    picture.paste((180, 40, 40), (0, 10, 96, 86))
    assert cut_out(picture) is None


def test_a_component_is_what_is_connected() -> None:
    mask = np.zeros((9, 9), bool)
    mask[1:3, 1:3] = mask[2, 2:6] = mask[7, 7] = True
    part = component(mask, (1, 1))
    assert part.sum() == mask.sum() - 1
    assert not part[7, 7]
