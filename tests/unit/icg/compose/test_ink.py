"""A drawing in one dark colour is light on a dark ground; a photograph of a black thing, and ink on paper, stay as they are."""

import numpy as np
import pytest
from icg.brief import Brief
from icg.compose.cover import compose, renewed
from icg.compose.ink import LIGHT, as_shown, is_ink, legible
from icg.compose.layout import Place
from icg.gates.fidelity import fidelity
from PIL import Image, ImageDraw

NIGHT, PAPER = (40, 36, 80), (245, 240, 230)


def drawing(colour: tuple[int, int, int] = (0, 0, 0), side: int = 256) -> Image.Image:
    picture = Image.new("RGBA", (side, side))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((20, 20, side - 20, side - 20), outline=(*colour, 255), width=24)
    pen.line((60, 70, side - 60, side - 90), fill=(*colour, 255), width=20)
    pen.rectangle((90, 130, 140, 190), fill=(*colour, 255))
    return picture


def photograph(side: int = 256) -> Image.Image:
    """A black thing whose tones differ."""
    picture = np.zeros((side, side, 4), np.uint8)
    picture[40:-40, 40:-40, :3] = np.random.default_rng(0).integers(0, 60, (side - 80, side - 80, 1))
    picture[40:-40, 40:-40, 3] = 255
    return Image.fromarray(picture)


def cover(product: Image.Image, ground: tuple[int, int, int]) -> Image.Image:
    brief = Brief("a", product=product, ground=True, output=(256, 256))
    return compose(brief, Image.new("RGB", (128, 128), ground), Place(0.8, 0.5, 0.5))


@pytest.mark.parametrize(
    ("picture", "ink"),
    [
        pytest.param(drawing(), True, id="black"),
        pytest.param(drawing((20, 20, 60)), True, id="dark blue"),
        pytest.param(drawing((200, 30, 30)), False, id="red"),
        pytest.param(photograph(), False, id="a photograph"),
        pytest.param(Image.new("RGBA", (64, 64)), False, id="nothing"),
    ],
)
def test_ink_is_a_drawing_in_one_dark_colour(picture: Image.Image, ink: bool) -> None:
    assert is_ink(picture) is ink


def test_ink_on_a_dark_ground_is_light_and_has_its_own_shape() -> None:
    light = legible(drawing(), Image.new("RGB", (256, 256), NIGHT))
    assert light.getpixel((100, 150))[:3] == LIGHT
    assert light.getchannel("A").tobytes() == drawing().getchannel("A").tobytes()


@pytest.mark.parametrize(
    ("picture", "ground"), [(drawing(), PAPER), (photograph(), NIGHT), (drawing((200, 30, 30)), NIGHT)]
)
def test_everything_else_stays_as_it_is(picture: Image.Image, ground: tuple[int, int, int]) -> None:
    assert legible(picture, Image.new("RGB", picture.size, ground)) is picture


@pytest.mark.parametrize("ground", [NIGHT, PAPER])
def test_a_cover_of_ink_is_faithful_on_any_ground_and_another_drawing_is_not(ground: tuple[int, int, int]) -> None:
    shown = cover(drawing(), ground)
    assert fidelity(shown, drawing(), drawing()) > 0.9
    other = drawing().transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    assert fidelity(shown, other, other) < 0.8


def test_an_enlarged_cover_keeps_the_colour_that_its_drawing_has() -> None:
    for ground in (NIGHT, PAPER):
        shown = cover(drawing(), ground)
        alone = Image.new("RGBA", shown.size)
        large = shown.resize((512, 512))
        again = renewed(large, drawing(), Place(0.8, 0.5, 0.5))
        assert np.abs(np.asarray(again, int) - np.asarray(large, int)).mean() < 8
        assert as_shown(alone, shown) is alone, "a cut-out without a pixel"
