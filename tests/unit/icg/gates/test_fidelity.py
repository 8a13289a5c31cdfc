"""Fidelity: the item's own picture, whole and legible, passes; thumbnails, smears, bites and other pictures do not."""

import numpy as np
import pytest
from icg.brief import Brief
from icg.compose.cover import compose
from icg.compose.layout import Place
from icg.compose.subject import product_of
from icg.gates.fidelity import fidelity, subject_mask
from icg.gates.gates import FIDELITY
from icg.gates.locate import locate
from PIL import Image, ImageDraw, ImageFilter, ImageFont

GROUND = Image.linear_gradient("L").resize((128, 128)).convert("RGB")


def poster(seed: int = 0, size: tuple[int, int] = (200, 300)) -> Image.Image:
    """Soft shapes with a title and small print."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(30, 220, (6, 4, 3), np.uint8))
    out = small.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(out)
    for _ in range(12):
        x, y, r = rng.uniform(0, size[0]), rng.uniform(0, size[1] * 0.7), rng.uniform(8, 40)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(int(v) for v in rng.integers(0, 255, 3)))
    draw.text((20, size[1] * 0.75), "THE LAST\nHARBOUR", "white", ImageFont.load_default(size[0] / 8))
    draw.text((20, size[1] * 0.93), "a film by nobody at all", "white", ImageFont.load_default(size[0] / 18))
    return out


def figure() -> Image.Image:
    """A drawn head on white."""
    out = Image.new("RGB", (200, 200), "white")
    draw = ImageDraw.Draw(out)
    draw.ellipse((20, 20, 180, 180), fill=(150, 110, 200))
    for x in (70, 130):
        draw.ellipse((x - 18, 70, x + 18, 110), fill="black")
        draw.ellipse((x - 6, 78, x + 4, 88), fill="white")
    draw.arc((70, 100, 130, 150), 20, 160, "black", 5)
    draw.rectangle((80, 22, 120, 50), fill=(250, 200, 40))
    return out


def cover_of(picture: Image.Image, product: Image.Image | None = None, at: Place | None = None) -> Image.Image:
    return compose(Brief("a", (picture,), np.ones(64) / 8, reference_strength=0.9, product=product), GROUND, at)


def blurred(cover: Image.Image, box: tuple[float, float, float, float], radius: float = 8) -> Image.Image:
    """With a smear in a box, in shares of the cover."""
    mask = Image.new("L", cover.size)
    width, height = cover.size
    ImageDraw.Draw(mask).ellipse((box[0] * width, box[1] * height, box[2] * width, box[3] * height), fill=255)
    return Image.composite(cover.filter(ImageFilter.GaussianBlur(radius)), cover, mask)


@pytest.mark.parametrize("seed", range(3))
def test_a_picture_that_fills_the_cover_passes(seed: int) -> None:
    picture = poster(seed)
    assert fidelity(picture, picture) > 0.95
    assert fidelity(cover_of(picture), picture) > 0.9
    assert fidelity(picture.resize((128, 192), Image.Resampling.LANCZOS), picture) >= FIDELITY


def test_a_cut_out_passes_at_any_place_where_it_is_large_enough() -> None:
    picture = figure()
    product = product_of(picture)
    for at in (Place(0.6, 0.35, 0.6), Place(0.75, 0.5, 0.5), Place(0.9, 0.5, 0.5)):
        assert fidelity(cover_of(picture, product, at), picture, product) > 0.9


@pytest.mark.parametrize("share", [0.3, 0.4, 0.7])
def test_a_picture_in_a_picture_fails(share: float) -> None:
    picture, cover = poster(), GROUND.resize((384, 384))
    small = picture.resize((round(share * 256), round(share * 384)), Image.Resampling.LANCZOS)
    cover.paste(small, (100, 8))
    assert fidelity(cover, picture) < 0.3


def test_a_thumbnail_of_a_cut_out_fails() -> None:
    picture = figure()
    product = product_of(picture)
    assert fidelity(cover_of(picture, product, Place(0.4, 0.5, 0.5)), picture, product) < 0.3


def test_in_a_scene_a_product_may_be_as_small_as_it_is_beside_others() -> None:
    picture = figure()
    product = product_of(picture)
    cover = cover_of(picture, product, Place(0.4, 0.5, 0.6))
    assert fidelity(cover, picture, product, scene=True) >= FIDELITY
    assert fidelity(cover.filter(ImageFilter.GaussianBlur(4)), picture, product, scene=True) < FIDELITY
    assert fidelity(cover_of(picture, product, Place(0.1, 0.5, 0.6)), picture, product, scene=True) < FIDELITY


def test_a_thing_without_edges_is_compared_where_it_was_set_in() -> None:
    picture = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(picture).rounded_rectangle((30, 60, 270, 150), 30, fill=(120, 125, 133))
    product = product_of(picture)
    cover = cover_of(picture, product, Place(0.5, 0.5, 0.6))
    assert fidelity(cover, picture, product, scene=True) >= FIDELITY
    other = cover.copy()
    other.paste((200, 60, 60), (0, 0, *cover.size))
    assert fidelity(other, picture, product, scene=True) < 0.3, "the place alone says nothing"


def test_smears_fail() -> None:
    picture, head = poster(), figure()
    assert fidelity(blurred(cover_of(picture), (0.0, 0.4, 1.0, 1.0)), picture) < FIDELITY
    assert fidelity(cover_of(picture).filter(ImageFilter.GaussianBlur(4)), picture) < FIDELITY
    small = cover_of(picture).resize((48, 72), Image.Resampling.BOX).resize((200, 300), Image.Resampling.BICUBIC)
    assert fidelity(small, picture) < FIDELITY
    product = product_of(head)
    assert fidelity(blurred(cover_of(head, product), (0.2, 0.2, 0.8, 0.7)), head, product) < FIDELITY


def test_a_bitten_cut_out_fails() -> None:
    picture = figure()
    product = product_of(picture)
    assert product is not None
    bitten = product.copy()
    bitten.paste((0, 0, 0, 0), (100, 0, 200, 110))
    assert fidelity(cover_of(picture, product), picture, product) >= FIDELITY
    assert fidelity(cover_of(picture, bitten), picture, bitten) < FIDELITY


def test_another_picture_fails() -> None:
    assert fidelity(cover_of(poster(1)), poster(2)) < 0.5
    assert fidelity(GROUND, poster(2)) < 0.5


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (1, 1)),
        Image.new("RGB", (64, 64), "white"),
        Image.new("RGBA", (64, 64)),
        poster(0, (1000, 50)),
        poster(0, (50, 1000)),
    ],
    ids=["1 x 1", "nothing but ground", "transparent", "wide", "tall"],
)
def test_any_picture_has_a_value(picture: Image.Image) -> None:
    for cover in (GROUND, cover_of(picture.convert("RGB")), Image.new("RGB", (32, 64), "red")):
        assert 0 <= fidelity(cover, picture) <= 1


def test_the_place_is_exact() -> None:
    cover, picture = GROUND.resize((400, 300)), poster(3, (120, 160))
    cover.paste(picture, (217, 63))
    region = locate(cover, picture, np.ones((160, 120)))
    assert (region.left, region.top, region.width, region.height) == pytest.approx((217, 63, 120, 160), abs=1)


def test_what_a_plain_ground_encloses_is_the_subject() -> None:
    mask = subject_mask(figure())
    assert mask is not None
    assert mask[82, 68], "the white of an eye too"
    assert mask.mean() == pytest.approx(np.pi * 80**2 / 200**2, rel=0.03)
    assert subject_mask(poster()) is None
