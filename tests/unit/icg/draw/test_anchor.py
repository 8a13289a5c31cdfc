"""How the services anchor a cover: as the caller wants, or an item's picture on a plain ground as it is."""

import numpy as np
import pytest
from icg.brief import MAX_REFERENCE_STRENGTH, Brief
from icg.cut_out import product_of
from icg.errors import BriefError
from icg.starter import REFERENCE_STRENGTH, anchoring
from PIL import Image, ImageDraw

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))


def on_plain_ground(edge: int = 64) -> Image.Image:
    picture = Image.new("RGB", (edge, edge), "white")
    picture.paste((200, 20, 20), (edge // 4, edge // 4, edge * 3 // 4, edge * 3 // 4))
    return picture


def test_a_picture_on_a_plain_ground_is_a_product() -> None:
    found = anchoring((on_plain_ground(), PHOTO))
    assert found["reference_strength"] == REFERENCE_STRENGTH
    pixels = np.asarray(found["product"])
    assert (pixels[16:48, 16:48] == (200, 20, 20, 255)).all()
    assert (pixels[..., 3] == 255).sum() == 32 * 32
    Brief("red square", (on_plain_ground(),), **found)


def test_mixtures_with_the_ground_are_told_apart() -> None:
    large = Image.new("RGBA", (640, 640), (30, 60, 220, 0))
    ImageDraw.Draw(large).ellipse((120, 200, 560, 440), fill=(30, 60, 220, 255))
    soft = large.resize((64, 64), Image.Resampling.BOX)
    picture = Image.new("RGB", soft.size, (250, 250, 250))
    picture.paste(soft, (0, 0), soft)
    found = product_of(picture)
    assert found is not None
    there, want = np.asarray(found).astype(int), np.asarray(soft).astype(int)
    assert np.abs(there[..., 3] - want[..., 3]).max() < 12
    seen = there[..., 3] > 60
    assert np.abs(there[seen][:, :3] - (30, 60, 220)).max() < 25, "no white fringe"


def test_specks_go_and_bites_are_filled() -> None:
    picture = Image.new("RGB", (64, 64), "white")
    picture.paste((240, 240, 244), (10, 10, 54, 54))  # hardly unlike the ground
    picture.paste((255, 255, 255), (30, 6, 34, 14))
    picture.putpixel((58, 58), (245, 245, 240))
    found = product_of(picture)
    assert found is not None
    alpha = np.asarray(found)[..., 3]
    assert (alpha[10:54, 10:54] == 255).all()
    assert alpha.sum() == 44 * 44 * 255


def test_a_large_picture_is_cut_out_small_and_large_alike() -> None:
    found = [product_of(on_plain_ground(640), edge) for edge in (None, 256)]
    shares = [(np.asarray(p)[..., 3] == 255).mean() for p in found if p is not None]
    assert shares == pytest.approx([0.25, 0.25], abs=0.03)
    assert found[1] is not None
    assert found[1].size == (256, 256)


def test_a_picture_is_cut_out_once_for_all_its_covers() -> None:
    first, again = (product_of(on_plain_ground(640), 64) for _ in range(2))
    assert first is not None
    assert first is again


def test_other_pictures_are_blended_in() -> None:
    assert anchoring((PHOTO, on_plain_ground())) == {"reference_strength": REFERENCE_STRENGTH, "product": None}
    assert anchoring(()) == {"reference_strength": 0.0, "product": None}


def test_a_scene_is_painted_around_the_product_there_is() -> None:
    picture, mine = on_plain_ground(), Image.new("RGBA", (8, 8))
    mine.paste((1, 2, 3, 255), (2, 2, 6, 6))
    for references, given, expected in (
        ((picture, PHOTO), None, product_of(picture)),
        ((PHOTO,), mine, mine),
        ((), mine, mine),
    ):
        found = anchoring(references, product=given, inpaint=True)
        assert found.keys() == {"product", "inpaint"}
        assert found["inpaint"] is True
        assert expected is not None
        assert found["product"].tobytes() == expected.tobytes()
        Brief("red square", references, **found)


@pytest.mark.parametrize("references", [(), (PHOTO,), (PHOTO, on_plain_ground())])
def test_without_a_product_there_is_nothing_to_paint_around(references: tuple[Image.Image, ...]) -> None:
    with pytest.raises(
        BriefError, match="inpaint=True without a product; allowed: one, or a first reference on a plain"
    ):
        anchoring(references, inpaint=True)


def test_a_caller_has_their_way() -> None:
    product = product_of(on_plain_ground())
    assert anchoring((on_plain_ground(),), 0.3) == {"reference_strength": 0.3, "product": None}
    assert anchoring((), 1.0, product) == {"reference_strength": MAX_REFERENCE_STRENGTH, "product": product}
    assert anchoring((PHOTO,), None, product) == {"reference_strength": REFERENCE_STRENGTH, "product": product}
