"""Requests of services: how references, products and targets become briefs in the queue."""

import io
import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from icg.brief import MAX_REFERENCE_STRENGTH, Brief
from icg.compose.cover import compose
from icg.compose.layout import Place
from icg.compose.subject import product_of
from icg.draw import ask
from icg.draw.ask import REFERENCE_STRENGTH, anchoring
from icg.errors import BriefError, Cancelled, CheckpointError, IcgError, Shed, UnknownProduct, Unsupported
from icg.pictures import over_white
from PIL import Image, ImageDraw

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))


def on_plain_ground(edge: int = 64) -> Image.Image:
    picture = Image.new("RGB", (edge, edge), "white")
    picture.paste((200, 20, 20), (edge // 4, edge // 4, edge * 3 // 4, edge * 3 // 4))
    return picture


def test_a_picture_on_a_plain_ground_is_a_product() -> None:
    anchor = anchoring((on_plain_ground(), PHOTO))
    assert anchor["reference_strength"] == REFERENCE_STRENGTH
    pixels = np.asarray(anchor["product"])
    assert (pixels[16:48, 16:48] == (200, 20, 20, 255)).all()
    assert (pixels[..., 3] == 255).sum() == 32 * 32
    Brief("red square", (on_plain_ground(),), **anchor)


def test_semi_transparent_pixels_are_separated_from_the_ground() -> None:
    large = Image.new("RGBA", (640, 640), (30, 60, 220, 0))
    ImageDraw.Draw(large).ellipse((120, 200, 560, 440), fill=(30, 60, 220, 255))
    soft = large.resize((64, 64), Image.Resampling.BOX)
    picture = Image.new("RGB", soft.size, (250, 250, 250))
    picture.paste(soft, (0, 0), soft)
    product = product_of(picture)
    assert product is not None
    pixels, expected = np.asarray(product).astype(int), np.asarray(soft).astype(int)
    assert np.abs(pixels[..., 3] - expected[..., 3]).max() < 12
    visible = pixels[..., 3] > 60
    assert np.abs(pixels[visible][:, :3] - (30, 60, 220)).max() < 25, "no white fringe"


def test_specks_go_and_bites_are_filled() -> None:
    picture = Image.new("RGB", (64, 64), "white")
    picture.paste((240, 240, 244), (10, 10, 54, 54))  # hardly different from the ground
    picture.paste((255, 255, 255), (30, 6, 34, 14))
    picture.putpixel((58, 58), (245, 245, 240))
    product = product_of(picture)
    assert product is not None
    alpha = np.asarray(product)[..., 3]
    assert (alpha[10:54, 10:54] == 255).all()
    assert alpha.sum() == 44 * 44 * 255


def test_a_picture_is_cut_out_once_for_all_its_covers() -> None:
    first, again = (product_of(on_plain_ground(640)) for _ in range(2))
    assert first is not None
    assert first is again


def test_other_pictures_fill_the_cover() -> None:
    assert anchoring((PHOTO, on_plain_ground())) == {"reference_strength": REFERENCE_STRENGTH, "product": None}
    assert anchoring(()) == {"reference_strength": 0.0, "product": None}


def test_a_scene_is_painted_around_the_product_there_is() -> None:
    picture, mine = on_plain_ground(), Image.new("RGBA", (8, 8))
    mine.paste((1, 2, 3, 255), (2, 2, 6, 6))
    for references, product, expected in (
        ((picture, PHOTO), None, product_of(picture)),
        ((PHOTO,), mine, mine),
        ((), mine, mine),
    ):
        anchor = anchoring(references, product=product, inpaint=True)
        assert anchor.keys() == {"product", "inpaint"}
        assert anchor["inpaint"] is True
        assert expected is not None
        assert anchor["product"].tobytes() == expected.tobytes()
        Brief("red square", references, **anchor)


@pytest.mark.parametrize("references", [(), (PHOTO,), (PHOTO, on_plain_ground())])
def test_painting_around_needs_a_product(references: tuple[Image.Image, ...]) -> None:
    with pytest.raises(
        BriefError, match="inpaint=True without a product; allowed: one, or a first reference with a clean"
    ):
        anchoring(references, inpaint=True)


def test_a_caller_has_their_way() -> None:
    product = product_of(on_plain_ground())
    assert anchoring((on_plain_ground(),), 0.3) == {"reference_strength": 0.3, "product": product}
    assert anchoring((on_plain_ground(),), 0.0) == {"reference_strength": 0.0, "product": None}
    assert anchoring((), 1.0, product) == {"reference_strength": MAX_REFERENCE_STRENGTH, "product": product}
    assert anchoring((PHOTO,), None, product) == {"reference_strength": REFERENCE_STRENGTH, "product": product}


def encoded(image: Image.Image, format: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, format)
    return out.getvalue()


def test_a_reference_keeps_its_alpha_for_the_gates() -> None:
    """Fidelity must know what is opaque; what reads the picture lays it on white itself."""
    ink = Image.new("RGBA", (40, 40))
    ink.paste("black", (5, 5, 35, 35))
    brief = ask.brief("a stamp", [encoded(ink)])
    assert brief.references[0].mode == "RGBA"
    assert brief.product is not None
    assert brief.item_digest() == ask.brief("a stamp", [encoded(over_white(ink))]).item_digest()


def test_a_fine_tuned_product_takes_the_place_of_the_references() -> None:
    shown = (encoded(on_plain_ground()),)
    assert ask.brief("mug", shown, product_id="mug").references == ()
    assert ask.brief("mug", shown, product_id="mug").product is None
    assert len(ask.brief("mug", shown).references) == 1


@pytest.mark.parametrize("knobs", [{"reference_strength": 0.0}, {"reference_strength": 0.5}, {"inpaint": True}])
def test_a_fine_tuned_product_leaves_references_that_a_knob_needs(knobs: dict[str, Any]) -> None:
    assert len(ask.brief("mug", (encoded(on_plain_ground()),), product_id="mug", **knobs).references) == 1


def test_knobs_are_fields_of_the_brief_by_name() -> None:
    brief = ask.brief("mug", seed=3, steps=5, guidance=2.5, guided=(0.0, 0.5), size=(64, 96))
    assert (brief.seed, brief.steps, brief.guidance, brief.guided, brief.size) == (3, 5, 2.5, (0.0, 0.5), (64, 96))
    assert ask.brief("mug").digest() == Brief("mug").digest(), "omitted fields have the brief's default"


def test_a_damaged_reference_is_named() -> None:
    with pytest.raises(IcgError, match=r"references\[1\]"):
        ask.brief("mug", (encoded(PHOTO), b"no picture"))


def test_provenance_names_a_fine_tuned_product_alone() -> None:
    plain, fine_tuned = Brief("mug", seed=3, steps=5), Brief("mug", product_id="blue-mug")
    stated = {"model": "m", "adapter": "m", "seed": 3, "steps": 5, "brief_digest": plain.digest()}
    assert ask.provenance("m", plain, Image.new("RGB", (8, 8))) == stated
    assert ask.provenance("m", fine_tuned, Image.new("RGB", (8, 8)))["product"] == "blue-mug"


def test_provenance_tells_where_the_items_own_picture_stands() -> None:
    cut_out = Image.new("RGBA", (40, 40))
    cut_out.paste((200, 40, 40, 255), (10, 10, 30, 30))
    around = Brief("mug", product=cut_out, ground=True)
    cover = compose(around, Image.new("RGB", around.size, "white"), Place(0.7, 0.4, 0.6))
    assert ask.provenance("m", around, cover)["place"] == [0.7, 0.4, 0.6]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Cancelled("x"), "CANCELLED"),
        (Shed("x"), "UNAVAILABLE"),
        (UnknownProduct("x"), "NOT_FOUND"),
        (Unsupported("x"), "FAILED_PRECONDITION"),
        (CheckpointError("x"), "FAILED_PRECONDITION"),
        (BriefError("x"), "INVALID_ARGUMENT"),
        (RuntimeError("x"), "INTERNAL"),
    ],
)
def test_each_error_has_a_status(error: Exception, status: str) -> None:
    assert ask.status_name(error) == status


class Line:
    """Draws at once: a cover is as wide as its brief's title is long."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    def submit(self, brief: Brief, **options: Any) -> Future[Image.Image]:
        self.titles.append(brief.title)
        cover: Future[Image.Image] = Future()
        cover.set_result(Image.new("RGB", (len(brief.title), 1)))
        return cover


class Designs:
    """Each takes until `go` is set."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def design(self, brief: Brief, target: str) -> str:
        self.begun.set()
        assert self.go.wait(10)
        return target

    def apply(self, brief: Brief, design: str) -> Brief:
        return replace(brief, title=f"{brief.title}, {design}")


def test_a_design_is_made_beside_the_line() -> None:
    line, designs = Line(), Designs()
    submitter = ask.Submitter(line, designs)
    designed = submitter.submit(Brief("mug"), "high")
    assert designs.begun.wait(10)
    brief, cover = submitter.submit(Brief("sea")).result(10)
    assert (brief.title, cover.width, line.titles) == ("sea", 3, ["sea"]), "a request without a target does not wait"
    assert not designed.done()
    designs.go.set()
    assert designed.result(10)[0].title == "mug, high"
    submitter.close()


def test_a_request_that_is_withdrawn_while_it_is_designed_never_joins_the_line() -> None:
    line, designs, gone = Line(), Designs(), threading.Event()
    submitter = ask.Submitter(line, designs)
    designed = submitter.submit(Brief("mug"), "high", is_cancelled=gone.is_set)
    assert designs.begun.wait(10)
    gone.set()
    designs.go.set()
    with pytest.raises(Cancelled):
        designed.result(10)
    assert line.titles == []
    submitter.close()


def test_closing_cancels_what_waits_for_a_design() -> None:
    line, designs = Line(), Designs()
    submitter = ask.Submitter(line, designs)
    first, second = submitter.submit(Brief("mug"), "high"), submitter.submit(Brief("sea"), "low")
    assert designs.begun.wait(10)
    closing = threading.Thread(target=submitter.close)
    closing.start()
    designs.go.set()
    closing.join(10)
    assert isinstance(second.exception(10), Cancelled)
    assert first.done()


def test_a_target_needs_a_designer() -> None:
    refused = ask.Submitter(Line()).submit(Brief("mug"), "high")
    with pytest.raises(Unsupported, match="target_kpi='high' for a checkpoint without design/; allowed: none"):
        refused.result(10)


def test_a_refusal_of_the_queue_reaches_the_future() -> None:
    class Full:
        def submit(self, brief: Brief, **options: Any) -> Future[Image.Image]:
            raise Shed("queue=0")

    with pytest.raises(Shed):
        ask.Submitter(Full()).submit(Brief("mug")).result(10)
