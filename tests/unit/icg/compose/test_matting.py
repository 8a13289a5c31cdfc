"""Mattes: sure of a clear subject, none for anything else."""

from pathlib import Path

import eyecatch
import numpy as np
import pytest
from icg.compose.cut_out import cut_out, pale
from icg.compose.matting import (
    AREA,
    LARGEST,
    LOST,
    TOUCHES,
    UNSURE,
    Confidence,
    confidence,
    decontaminated,
    fitted,
    matte,
)
from icg.compose.subject import BITTEN, product_of
from icg.pictures import decode, over_white
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SAMPLE = Path(eyecatch.__file__).parent / "sample" / "images"


def scene(size: tuple[int, int] = (320, 320)) -> tuple[Image.Image, np.ndarray]:
    """A bottle before a soft wall, and its mask."""
    ground = Image.linear_gradient("L").resize(size).convert("RGB")
    mask = Image.new("L", size)
    width, height = size
    draw = ImageDraw.Draw(mask)
    draw.rounded_rectangle((width * 0.36, height * 0.35, width * 0.64, height * 0.85), 20, fill=255)
    draw.rectangle((width * 0.45, height * 0.18, width * 0.55, height * 0.4), fill=255)
    soft = mask.filter(ImageFilter.GaussianBlur(1))
    ground.paste((210, 60, 30), (0, 0), soft)
    return ground, np.asarray(mask) > 127


def text() -> Image.Image:
    """Nothing but text."""
    out = Image.linear_gradient("L").resize((200, 300)).convert("RGB")
    for n in range(14):
        ImageDraw.Draw(out).text((8, 8 + 20 * n), "all of it is words here", "orange", ImageFont.load_default(15))
    return out


def test_a_clear_subject_is_cut_out() -> None:
    picture, mask = scene()
    cut = matte(picture)
    assert cut is not None
    alpha = np.asarray(cut)[..., 3] > 127
    assert (alpha & mask).sum() / (alpha | mask).sum() > 0.9
    opaque = np.asarray(cut)[..., 3] == 255
    assert (np.asarray(cut)[opaque][:, :3] == np.asarray(picture)[opaque]).mean() > 0.97


@pytest.mark.parametrize(
    "picture",
    [
        text(),
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 160, 3), np.uint8)),
        Image.linear_gradient("L").resize((200, 100)).convert("RGB"),
        Image.linear_gradient("L").resize((1000, 50)).convert("RGB"),
        Image.new("RGB", (64, 64), "navy"),
        Image.new("RGB", (1, 1), "navy"),
    ],
    ids=["text", "noise", "gradient", "wide", "plain", "1 x 1"],
)
def test_nothing_else_is(picture: Image.Image) -> None:
    assert product_of(picture) is None


def test_a_fully_transparent_picture_has_no_cut_out() -> None:
    assert product_of(Image.new("RGBA", (64, 64))) is None
    assert product_of(Image.new("RGBA", (64, 64), (200, 30, 30, 128))) is None


@pytest.mark.parametrize(
    "change",
    [
        {"unsure": UNSURE + 0.01},
        {"largest": LARGEST - 0.01},
        {"touches": TOUCHES + 0.01},
        {"area": AREA[0] - 0.01},
        {"area": AREA[1] + 0.01},
        {"lost": LOST + 0.01},
    ],
)
def test_each_doubt_is_enough(change: dict[str, float]) -> None:
    sure = {"unsure": 0.1, "largest": 1.0, "touches": 0.0, "area": 0.3, "lost": 0.05}
    assert Confidence(**sure).enough
    assert not Confidence(**sure | change).enough


def test_lettering_outside_the_mask_counts_as_lost() -> None:
    picture, mask = scene()
    assert confidence(mask.astype(np.float32), picture).lost < LOST
    ImageDraw.Draw(picture).text((10, 5), "THE RED BOTTLE", "white", ImageFont.load_default(36))
    assert confidence(mask.astype(np.float32), picture).lost > LOST


def test_the_filter_finds_the_edge() -> None:
    picture, mask = scene()
    rough = np.asarray(Image.fromarray(mask).convert("L").resize((56, 56)).resize((224, 224)), np.float32) / 255
    alpha = fitted(rough, picture)
    assert alpha.shape == mask.shape
    assert np.abs(alpha - mask).mean() < 0.02


def test_mixed_pixels_take_the_subject_s_colour() -> None:
    picture = Image.new("RGB", (60, 60), "white")
    picture.paste((200, 0, 0), (20, 20, 40, 40))
    picture.paste((228, 128, 128), (18, 20, 20, 40))
    alpha = np.zeros((60, 60))
    alpha[20:40, 20:40], alpha[20:40, 18:20] = 1, 0.5
    out = np.asarray(decontaminated(picture, alpha), int)
    assert np.abs(out[25:35, 18:20, :3] - (200, 0, 0)).max() < 6


def shop_picture(subject: str) -> tuple[Image.Image, np.ndarray]:
    """The subject on white, 128 pixels, and whether a pixel is wholly the subject's."""
    own = decode((SAMPLE / f"{subject}-3d.webp").read_bytes(), mode="RGBA").resize((128, 128), Image.Resampling.LANCZOS)
    return over_white(own), np.asarray(own)[..., 3] == 255


def test_a_subject_as_pale_as_its_ground_is_not_bitten() -> None:
    """The panda's cheek fades into the white of its picture."""
    picture, inside = shop_picture("panda")
    cut = cut_out(picture)
    assert cut is not None
    bite = inside & (np.asarray(cut)[..., 3] < 128)
    assert bite.sum() > 50
    product = product_of(picture)
    assert product is not None
    whole = bite & (np.asarray(product)[..., 3] == 255)
    assert whole.sum() > 0.9 * bite.sum()
    assert (np.asarray(product)[whole, :3] == np.asarray(picture)[whole]).all()
    fox, _ = shop_picture("fox")
    assert pale(cut_out(fox)) < BITTEN < pale(cut), "only a pale one costs a look"
