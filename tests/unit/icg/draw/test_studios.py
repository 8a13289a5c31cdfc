"""Covers in a studio: a bare place is drawn in the palette that the user likes, and the product is set in true to scale."""

from __future__ import annotations

import copy
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from icg.adapter.decision import Decision
from icg.adapter.model import IcgAdapter
from icg.adapter.studios import TALLEST, WIDEST, Studios
from icg.brief import Brief
from icg.compose.cover import placed
from icg.draw.drafts import layout_noise
from icg.draw.pipeline import CoverPipeline
from icg.errors import BriefError, Unsupported
from icg.scheduler.engine import StepScheduler
from icg.starter import Starter
from PIL import Image, ImageDraw

from tests.unit.icg.draw.test_grounds import placement

USERS = np.eye(64, dtype=np.float32)[:3]
SPOTS = [(0.2, 0.5, 0.9, 2.0), (0.2, 0.5, 0.9, 2.0), (1.6, 0.5, 0.9, 0.25)]
"""Two studios for products of 20 cm, one for those of 1.6 m; both show these 0.4 of the edge high."""


TONES = torch.tensor([[[0.0, 128, 128], [0, 90, 90]], [[250, 250, 250], [200, 60, 60]]])
"""The product has the colour of the first palette."""


def product(width: int = 100, height: int = 200) -> Image.Image:
    picture = Image.new("RGBA", (300, 300))
    ImageDraw.Draw(picture).rectangle((50, 50, 49 + width, 49 + height), fill="teal")
    return picture


def brief(title: str = "mug, 20 cm high", user: np.ndarray | None = None, **fields: object) -> Brief:
    return Brief(title, product=product(), inpaint=True, user_embedding=user, steps=3, **fields)  # type: ignore[arg-type]


def decision() -> Decision:
    """Users 0 and 1 like palettes 0 and 1, with backdrop 1 and 0; user 2 is nearer to user 1."""
    fitted, typical = Decision(2, 2, 64), torch.zeros(2, 2, 64)
    for palette in range(2):
        for backdrop in range(2):
            typical[palette, backdrop, 10 + 2 * palette + backdrop] = 1
    users = torch.as_tensor(np.concatenate([np.repeat(USERS[:2], 50, 0), np.repeat(USERS[1:2] + USERS[2:], 5, 0)]))
    fitted.fit(users, torch.tensor([[0, 1]] * 50 + [[1, 0]] * 55), typical, TONES)
    return fitted


@pytest.fixture
def pipeline(small: Starter) -> CoverPipeline:
    old = small.pipeline
    config = replace(old.adapter.config, grounds=128, drafts=64, layouts=4, studios=3, palettes=2, backdrops=2)
    adapter = IcgAdapter(config)
    adapter.load_state_dict(old.adapter.state_dict(), strict=False)
    adapter.decision, adapter.placement = decision(), placement()
    assert adapter.studios is not None
    adapter.studios.spots.copy_(torch.tensor(SPOTS))  # type: ignore[operator]
    return CoverPipeline(old.vlm, old.processor, copy.deepcopy(old.diffusion), adapter)


def studios() -> Studios:
    each = Studios(3, 16, 8)
    each.spots.copy_(torch.tensor(SPOTS))  # type: ignore[operator]
    return each


def test_a_product_gets_a_studio_of_its_size_and_the_seed_chooses_among_these() -> None:
    each = studios()
    assert {each.choose(0.15, 0.5, seed) for seed in range(4)} == {0, 1}
    assert {each.choose(9.0, 0.5, seed) for seed in range(4)} == {2}
    each.spots[2, 0] = 1.2  # type: ignore[index]
    assert each.choose(0.3, 8.0, 0) == 2, "a low and long product needs as much room as a high one"


def test_a_product_is_true_to_scale_and_within_the_cover() -> None:
    each = studios()
    edge, x, y = each.place(0, 0.2, 0.5)
    assert (edge, x, y) == pytest.approx((0.4, 0.5, 0.7))
    assert each.place(0, 0.1, 0.5)[0] == pytest.approx(0.2)
    assert each.place(0, 5.0, 0.5)[0] == pytest.approx(TALLEST)
    assert each.place(0, 0.2, 4.0)[0] == pytest.approx(WIDEST), "the longer edge is its width"


def test_the_cover_shows_the_product_in_its_own_pixels_on_the_studio(pipeline: CoverPipeline) -> None:
    cover, lower = pipeline([brief(), brief("mug, 10 cm high")])
    alone = placed(brief(), cover)
    box = alone.getchannel("A").getbbox()
    assert box is not None
    assert (box[3] - box[1]) / cover.height == pytest.approx(0.4, abs=0.02)
    assert box[3] / cover.height == pytest.approx(0.9, abs=0.02)
    inside = np.asarray(alone.getchannel("A")) == 255
    assert np.abs(np.asarray(cover, int) - np.asarray(alone.convert("RGB"), int))[inside].max() <= 40, "but for light"
    box = placed(brief("mug, 10 cm high"), lower).getchannel("A").getbbox()
    assert box is not None
    assert (box[3] - box[1]) / lower.height == pytest.approx(0.2, abs=0.02)


def test_no_controlnet_is_needed_for_it_and_one_is_without_studios(pipeline: CoverPipeline, small: Starter) -> None:
    assert pipeline.inpainter is None
    assert pipeline.prepared(brief()).ground
    with pytest.raises(Unsupported, match="no controlnet/"):
        small.pipeline([brief(size=(64, 64))])


def test_a_user_is_drawn_for_as_the_typical_one_of_what_they_like_most(pipeline: CoverPipeline) -> None:
    def directions(user: np.ndarray | None, inpaint: bool = False, seed: int = 0) -> list[int]:
        scene = pipeline.prepared(
            replace(brief(user=user, seed=seed), inpaint=inpaint, reference_strength=0.5 * (not inpaint))
        )
        vector = pipeline.drawn_user(scene, pipeline.user(scene))
        return torch.nonzero(vector[0]).ravel().tolist()

    assert directions(USERS[0]) == [11]
    assert directions(USERS[1]) == [12]
    assert directions(USERS[1] + 0.3 * USERS[0]) == [12]
    assert directions(None) == []
    assert directions(USERS[0], inpaint=True) == [10, 11]
    nobody = [directions(None, True, seed) for seed in (0, 1)]
    assert nobody == [[12, 13]] * 2, "a palette before which the product stands out"
    scene = pipeline.prepared(brief(user=USERS[0], strength=0.0, seed=1))
    assert scene.user_embedding is None
    assert scene.strength == 1.0


def test_studios_begin_from_noise_of_their_own() -> None:
    noise = torch.zeros(22, 8, 4, 4)
    moved = layout_noise(noise, torch.arange(22), 4).mean((2, 3)) > 0
    assert (moved.sum(1) == 2).all()
    assert len({tuple(row.tolist()) for row in moved}) == 22
    assert layout_noise(noise, torch.arange(22), 0) is noise


def test_the_service_draws_them_beside_grounds(pipeline: CoverPipeline) -> None:
    ground = replace(brief(user=USERS[1]), inpaint=False, reference_strength=0.88)
    briefs = [brief(user=USERS[0], seed=2), ground, brief("tower, 1.6 m high")]
    expected = pipeline(briefs)
    with closing(StepScheduler(pipeline, [Brief.size])) as scheduler:
        covers = [request.result(60) for request in [scheduler.submit(b) for b in briefs]]
    for cover, other in zip(covers, expected, strict=True):
        assert cover.info["place"] == other.info["place"]
        assert np.abs(np.asarray(cover, int) - np.asarray(other, int)).max() <= 2


def test_nothing_is_placed_without_a_product(pipeline: CoverPipeline) -> None:
    with pytest.raises(BriefError, match="product=None"):
        placed(Brief("mug"), Image.new("RGB", (8, 8)))


def test_a_saved_adapter_decides_and_places_as_before(pipeline: CoverPipeline, tmp_path: object) -> None:
    pipeline.adapter.save_pretrained(str(tmp_path))
    read = IcgAdapter.from_pretrained(str(tmp_path))
    assert read.studios is not None
    assert read.studios.place(0, 0.2, 0.5) == pytest.approx([0.4, 0.5, 0.7], abs=1e-3)
    assert read.decision is not None
    assert torch.equal(
        read.decision.ground(torch.as_tensor(USERS[:1]), 0), decision().ground(torch.as_tensor(USERS[:1]), 0)
    )


def test_covers_of_a_job_show_each_look_that_is_about_as_likely() -> None:
    both = torch.as_tensor((USERS[:1] + USERS[1:2]) / 2)
    shown = {int(torch.nonzero(decision().ground(both, seed)[0])) for seed in range(4)}
    assert shown == {10, 11, 12, 13}
    clear = {int(torch.nonzero(decision().ground(torch.as_tensor(USERS[:1]), seed)[0])) for seed in range(4)}
    assert clear == {11}


def test_a_sofa_stays_indoors() -> None:
    each = Studios(3, 16, 8)
    each.spots.copy_(torch.tensor([(0.4, 0.5, 0.9, 1.1), (1.25, 0.5, 0.9, 0.35), (2.1, 0.5, 0.9, 0.2)]))  # type: ignore[operator]
    assert each.choose(0.85, 2.5, 0) == 1
    assert each.choose(0.8, 20.0, 0) == 1
    assert each.choose(1.8, 1.2, 0) == 2
