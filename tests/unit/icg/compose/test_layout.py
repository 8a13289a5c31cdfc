"""Where a cut-out stands, and what of the draft stays around it."""

import numpy as np
import pytest
from icg.compose.cover import collage
from icg.compose.layout import EDGES, PLACE, Place, clear, place, settled, stood, strange
from icg.compose.subject import product_of
from PIL import Image


def on_white() -> Image.Image:
    picture = Image.new("RGB", (64, 64), "white")
    picture.paste((200, 20, 20), (8, 8, 56, 56))
    return picture


def scene() -> Image.Image:
    return Image.new("RGB", (96, 96), (40, 90, 200))


def test_the_subject_stands_where_the_draft_has_its_own() -> None:
    draft = scene()
    assert place(strange(draft)) == PLACE
    draft.paste((0, 0, 0), (30, 32, 92, 94))
    at = place(strange(draft))
    assert at.edge == pytest.approx(0.64, abs=0.04)
    assert (at.x, at.y) == pytest.approx((0.64, 0.66), abs=0.04)
    product = product_of(on_white())
    assert product is not None
    set_in = np.asarray(collage(draft, product, at))
    assert tuple(set_in[62, 62]) == (200, 20, 20)
    assert np.abs(set_in[8, 8].astype(int) - (40, 90, 200)).max() < 12


def test_a_small_subject_of_the_draft_does_not_make_a_thumbnail() -> None:
    draft = scene()
    draft.paste((0, 0, 0), (80, 80, 94, 94))
    assert place(strange(draft)).edge == EDGES[0]


@pytest.mark.parametrize("box", [(30, 30, 66, 66), (6, 6, 90, 90)])
def test_clearing_removes_a_subject_of_any_size(box: tuple[int, int, int, int]) -> None:
    draft = scene()
    draft.paste((0, 0, 0), box)
    assert np.abs(np.asarray(clear(draft, strange(draft)), int) - (40, 90, 200)).max() < 12


def test_a_subject_of_nearly_the_right_size_keeps_its_pixels() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 4), np.uint8))
    noise.putalpha(255)
    at = settled(Place(0.7, 0.5, 0.5), noise.size, (128, 128))
    assert at.edge == 80 / 128
    box = stood(noise, at, (128, 128)).getbbox()
    assert box is not None
    assert stood(noise, at, (128, 128)).crop(box).tobytes() == noise.tobytes()
    assert settled(Place(0.9, 0.5, 0.5), (40, 40), (128, 128)).edge == 0.9


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (400, 3), (900, 900)])
def test_any_subject_stands_whole_in_the_cover(size: tuple[int, int]) -> None:
    for at in (Place(0.9, 0.1, 0.95), Place(0.6, 0.99, 0.01)):
        alone = stood(Image.new("RGBA", size, "red"), at, (128, 96))
        box = alone.getbbox()
        assert box is not None
        assert max(box[2] - box[0], box[3] - box[1]) == pytest.approx(at.edge * 96, abs=1)
