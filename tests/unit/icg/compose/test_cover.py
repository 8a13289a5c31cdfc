"""Made covers show the item's own pixels: on a ground at the output's size, or filling the cover."""

import io
from dataclasses import replace

import numpy as np
import pytest
from icg.brief import Brief
from icg.compose.cover import compose, output_size, place_in
from icg.compose.layout import Place, settled, stood
from icg.compose.light import harmonised, shadowed
from icg.compose.recompose import LIMIT, cropped_to, extended
from icg.compose.subject import cropped
from icg.draw import ask
from icg.errors import BriefError
from PIL import Image, ImageDraw

GROUND = Image.new("RGB", (128, 128), (240, 200, 60))
USER = np.eye(64, dtype=np.float32)[3]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8))


def disc(edge: int = 300, diameter: int = 240) -> Image.Image:
    """A noisy disc with soft edges on nothing."""
    alpha = Image.new("L", (edge * 2, edge * 2))
    start, end = edge - diameter, edge + diameter
    ImageDraw.Draw(alpha).ellipse((start, start, end, end), fill=255)
    picture = noise(edge, edge)
    picture.putalpha(alpha.resize((edge, edge), Image.Resampling.BOX))
    return picture


def encoded(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def test_opaque_pixels_are_the_original_s() -> None:
    product = disc()
    subject = cropped(product)
    at = settled(Place(0.7, 0.4, 0.5), subject.size, (300, 300))
    cover = compose(Brief("disc", product=product), GROUND, at)
    assert cover.size == (300, 300)
    box = stood(subject, at, cover.size).getbbox()
    pixels, original = np.asarray(cover.crop(box)), np.asarray(subject)
    opaque = original[..., 3] == 255
    assert opaque.mean() > 0.4
    assert (pixels[opaque] == original[opaque][:, :3]).all()
    assert np.abs(np.asarray(cover, int)[2, 2] - (240, 200, 60)).max() <= 2


def test_the_alpha_of_a_picture_is_its_cut_out() -> None:
    product = disc()
    brief = ask.brief("disc", [encoded(product)])
    assert brief.product is not None
    assert brief.product.tobytes() == product.tobytes()
    assert brief.references[0].tobytes() == product.tobytes(), "gates and cut-out read the same alpha"


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((64, 64), (128, 128)),
        ((512, 300), (512, 300)),
        ((1600, 2400), (683, 1024)),
        ((2000, 100), (1024, 512)),
        ((1, 1), (128, 128)),
    ],
)
def test_a_picture_that_fills_the_cover_sets_its_size(picture: tuple[int, int], size: tuple[int, int]) -> None:
    brief = Brief("a", (Image.new("RGB", picture),), reference_strength=0.5)
    assert output_size(brief) == size
    assert compose(brief, GROUND).size == size


def test_sizes_of_other_covers() -> None:
    assert output_size(Brief("a")) == (128, 128)
    assert output_size(Brief("a", (noise(500, 400),))) == (128, 128)
    assert output_size(Brief("a", product=disc())) == (300, 300)
    assert output_size(Brief("a", product=disc(), size=(128, 64))) == (300, 150)
    assert output_size(Brief("a", product=disc(), output=(200, 100))) == (200, 100)
    assert compose(Brief("a", output=(200, 100)), GROUND).size == (200, 100)
    assert compose(Brief("a"), GROUND) is GROUND


@pytest.mark.parametrize("output", [(16, 100), (100, 4000), (100,)])
def test_outputs_that_are_not_allowed(output: tuple[int, int]) -> None:
    with pytest.raises(BriefError, match="output="):
        Brief("a", output=output)


def test_a_picture_that_fills_the_cover_keeps_its_structure() -> None:
    picture = noise(200, 300)
    brief = Brief("a", (picture,), USER, reference_strength=0.88)
    plain, graded = (np.asarray(compose(b, GROUND), int) for b in (replace(brief, user_embedding=None), brief))
    assert (plain == np.asarray(picture)).all()
    assert 0.5 < np.abs(graded - plain).mean() < 0.6 * LIMIT
    assert np.abs(graded - plain).max() <= LIMIT + 1
    half = np.asarray(compose(replace(brief, strength=0.5), GROUND), int)
    assert np.abs(half - plain).mean() < np.abs(graded - plain).mean()


def poster() -> Image.Image:
    """Detail in the upper part alone; plain below."""
    picture = Image.new("RGB", (200, 300), (30, 60, 90))
    picture.paste(noise(180, 120), (10, 20))
    return picture


def test_a_crop_keeps_what_matters() -> None:
    crop = cropped_to(poster(), 1.0)
    assert crop.size[0] == 200
    assert 200 <= crop.size[1] < 230
    assert np.asarray(crop)[..., 0].std() > 50


def test_a_crop_never_cuts_lettering_all_over() -> None:
    assert cropped_to(noise(200, 300), 2.0).size[1] >= 290


def test_an_extension_continues_the_picture() -> None:
    picture = noise(100, 200)
    wide = extended(picture, 1.0)
    assert wide.size == (200, 200)
    pixels, original = np.asarray(wide), np.asarray(picture)
    assert (pixels[:, 50:150] == original).all()
    assert np.abs(pixels[:, 49].astype(int) - original[:, 0]).mean() < 60, "the seam is continuous"
    assert pixels[:, :10].std() < original.std() / 2, "the outside is soft"


def test_shadow_and_fringe_leave_the_artwork_alone() -> None:
    alone, ground = disc(), Image.new("RGB", (300, 300), "white")
    dark = np.asarray(shadowed(ground, alone), int)
    assert dark.min() < 235
    assert (dark[:10] > 250).all()
    before, after = np.asarray(alone), np.asarray(harmonised(alone, ground))
    opaque = before[..., 3] == 255
    assert (before[opaque] == after[opaque]).all()
    assert (before[..., 3] == after[..., 3]).all()
    assert (before != after).any()


def test_a_place_is_the_draft_s() -> None:
    draft = GROUND.copy()
    draft.paste((0, 0, 0), (60, 40, 124, 120))
    at = place_in(Brief("disc", product=disc(200, 80)), draft)
    assert at.x > 0.6
    assert at.edge == pytest.approx(0.63, abs=0.05)


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (1, 1), "red"),
        Image.new("RGB", (64, 64), "white"),
        Image.new("RGBA", (64, 64)),
        noise(2000, 100),
        noise(60, 1200),
    ],
    ids=["1 x 1", "nothing but ground", "transparent", "wide", "tall"],
)
@pytest.mark.parametrize("output", [None, (300, 200)])
def test_any_picture_gives_a_cover(picture: Image.Image, output: tuple[int, int] | None) -> None:
    brief = Brief("a", (picture,), USER, output=output, **ask.anchoring((picture,)))
    cover = compose(brief, GROUND)
    assert cover.mode == "RGB"
    assert cover.size == (output or output_size(brief))
    assert max(cover.size) <= 1024
