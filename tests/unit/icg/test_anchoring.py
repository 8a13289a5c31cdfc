"""How the services anchor a cover: as the caller wants, or an item's picture on a plain ground as it is."""

import numpy as np
import pytest
from icg.anchor import product_of
from icg.brief import MAX_REFERENCE_STRENGTH, Brief
from icg.starter import REFERENCE_STRENGTH, anchoring
from PIL import Image

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))


def on_plain_ground(edge: int = 64) -> Image.Image:
    picture = Image.new("RGB", (edge, edge), "white")
    picture.paste((200, 20, 20), (edge // 4, edge // 4, edge * 3 // 4, edge * 3 // 4))
    return picture


def test_a_picture_on_a_plain_ground_is_a_product() -> None:
    found = anchoring((on_plain_ground(), PHOTO))
    assert found["reference_strength"] == REFERENCE_STRENGTH
    pixels = np.asarray(found["product"])
    solid = pixels[pixels[..., 3] == 255]
    assert len(solid) == pytest.approx(30 * 30, abs=1), "all but a pixel around"
    assert (solid[:, :3] == (200, 20, 20)).all()
    Brief("red square", (on_plain_ground(),), **found)


def test_more_is_taken_off_around_a_large_picture() -> None:
    small, large = (product_of(on_plain_ground(edge)) for edge in (64, 640))
    assert small is not None
    assert large is not None
    edges = [np.ptp(np.nonzero(np.asarray(p)[..., 3])[0]) + 1 for p in (small, large)]
    assert edges == [32 - 2, 320 - 8]


def test_other_pictures_are_blended_in() -> None:
    assert anchoring((PHOTO, on_plain_ground())) == {"reference_strength": REFERENCE_STRENGTH, "product": None}
    assert anchoring(()) == {"reference_strength": 0.0, "product": None}


def test_a_caller_has_their_way() -> None:
    product = product_of(on_plain_ground())
    assert anchoring((on_plain_ground(),), 0.3) == {"reference_strength": 0.3, "product": None}
    assert anchoring((), 1.0, product) == {"reference_strength": MAX_REFERENCE_STRENGTH, "product": product}
    assert anchoring((PHOTO,), None, product) == {"reference_strength": REFERENCE_STRENGTH, "product": product}
