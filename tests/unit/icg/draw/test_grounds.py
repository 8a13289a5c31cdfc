"""Covers with a ground of their own: it is drawn for the user, without the item, and the item's picture is set in afterwards."""

from __future__ import annotations

import copy
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.adapter.placement import Placement
from icg.brief import Brief
from icg.compose.cover import compose, set_down
from icg.compose.detail import edges, luminance
from icg.compose.layout import Place
from icg.draw.drafts import LAYOUT, enlarged
from icg.draw.pipeline import CoverPipeline
from icg.draw.sampler import anchor_step, first_noise, rows_ahead
from icg.errors import BriefError, CheckpointError
from icg.scheduler.engine import StepScheduler
from icg.scheduler.request import Share
from icg.settings import DrawingSettings
from icg.starter import Starter
from PIL import Image, ImageDraw

CENTRE, CORNER = (0.7, 0.5, 0.5), (0.6, 0.66, 0.67)
USERS = np.eye(64, dtype=np.float32)[:2]
"""The first one likes the subject in the corner, the second one in the centre."""


def disc() -> Image.Image:
    picture = Image.new("RGBA", (256, 256))
    ImageDraw.Draw(picture).ellipse((20, 20, 236, 236), fill="teal")
    return picture


def brief(user: np.ndarray | None = None, **fields: object) -> Brief:
    return Brief("teal disc", product=disc(), reference_strength=0.88, user_embedding=user, seed=3, steps=2, **fields)  # type: ignore[arg-type]


def placement() -> Placement:
    users = torch.as_tensor(np.repeat(USERS, 50, 0) + np.random.default_rng(0).normal(0, 0.05, (100, 64))).float()
    fitted = Placement(64)
    fitted.fit(users, torch.tensor([1] * 50 + [0] * 50), torch.tensor([CENTRE, CORNER, CENTRE]))
    return fitted


@pytest.fixture(params=[0, 128], ids=["at once", "from drafts"])
def pipeline(small: Starter, request: pytest.FixtureRequest) -> CoverPipeline:
    """A copy of the random small pipeline, as a scheduler changes it, with an adapter that says that it draws grounds."""
    old = small.pipeline
    adapter = IcgAdapter(replace(old.adapter.config, grounds=256, drafts=request.param))
    adapter.load_state_dict(old.adapter.state_dict(), strict=False)
    adapter.placement = placement()
    return CoverPipeline(old.vlm, old.processor, copy.deepcopy(old.diffusion), adapter)


def test_each_user_gets_the_place_of_users_alike(tmp_path: object, pipeline: CoverPipeline) -> None:
    fitted = placement()
    assert fitted.place(torch.as_tensor(USERS[0])) == pytest.approx(CORNER)
    assert fitted.place(torch.as_tensor(USERS[1])) == pytest.approx(CENTRE)
    pipeline.adapter.save_pretrained(str(tmp_path))
    read = IcgAdapter.from_pretrained(str(tmp_path))
    assert read.placement is not None
    assert read.placement.place(torch.as_tensor(USERS[0])) == pytest.approx(CORNER, abs=1e-3)


def test_a_ground_takes_one_row_a_step_and_does_not_read_the_item(pipeline: CoverPipeline) -> None:
    prepared = pipeline.prepared(brief(USERS[0]))
    assert prepared.ground
    assert prepared.size == (256, 256), "the adapter's grounds are larger than its covers"
    assert rows_ahead(prepared) == [2, 1, 0]
    assert anchor_step(prepared) == 0
    pipeline([brief(USERS[0])])
    assert pipeline.reads == 0


def test_only_covers_around_the_items_own_picture_have_a_ground(small: Starter, pipeline: CoverPipeline) -> None:
    picture = Image.new("RGB", (64, 64), "teal")
    assert pipeline.prepared(Brief("x", (picture,), reference_strength=0.8)).ground, "a picture that fills the cover"
    for other in (
        Brief("x"),
        Brief("x", (picture,)),
        Brief("x", product=disc(), inpaint=True),
        brief(product_id="mug"),
    ):
        assert not pipeline.prepared(other).ground
    assert not small.pipeline.prepared(brief()).ground, "an adapter that was not trained for it"


def test_the_ground_stays_whole_around_the_subject() -> None:
    ground = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8))
    anchored = replace(brief(output=(512, 512)), ground=True)
    cover = np.asarray(compose(anchored, ground, set_down(anchored, Place(0.7, 0.5, 0.5))), int)
    plain = np.asarray(ground.resize((512, 512), Image.Resampling.BICUBIC), int)
    rim = np.ones((512, 512), bool)
    rim[20:492, 20:492] = False  # subject and shadow
    assert np.abs(cover - plain)[rim].max() <= 1


def test_a_batch_that_the_caller_steps_has_one_size_as_drawn(pipeline: CoverPipeline) -> None:
    with pytest.raises(BriefError, match=r"size=\[\(128, 128\), \(256, 256\)\]"):
        pipeline.start([Brief("red square", steps=2), brief(USERS[0])])


def test_a_ground_is_another_brief(pipeline: CoverPipeline) -> None:
    plain = brief(USERS[0], size=(256, 256))
    prepared = pipeline.prepared(plain)
    assert prepared.digest() != plain.digest()
    assert pipeline.prepared(prepared) is prepared


def test_the_service_refuses_a_broken_picture_at_once(pipeline: CoverPipeline) -> None:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(out, "PNG")
    broken = Image.open(io.BytesIO(out.getvalue()[: len(out.getvalue()) // 2]))
    scheduler = StepScheduler(pipeline)
    try:
        with pytest.raises(BriefError, match="cannot be decoded"):
            scheduler.submit(Brief("x", (broken,), reference_strength=0.8, steps=1))
    finally:
        scheduler.close()


def test_a_draft_is_a_fraction_of_the_ground_and_refined_to_all_of_it(pipeline: CoverPipeline) -> None:
    whole = replace(brief(USERS[0]), steps=8)
    batch = pipeline.start([whole])
    (sampler,) = batch.samplers
    drafted, sizes = pipeline.draft_factor(sampler.brief) > 1, [sampler.size]
    while pipeline.step(batch):
        sizes.append(sampler.size)
        assert sampler.latents.shape[2:] == pipeline.family.shape(sampler.size)[1:]
    assert sizes == [(128, 128)] * 5 + [(256, 256)] * 3 if drafted else [(256, 256)] * 8
    rows = rows_ahead(sampler.brief, pipeline.draft_factor(sampler.brief))
    assert rows[0] == (5 / 4 + 3 if drafted else 8)
    (once,) = pipeline([replace(whole, steps=1)])
    assert once.size == (256, 256), "nothing is drafted in one step"


def test_the_seed_of_a_draft_chooses_its_layout(pipeline: CoverPipeline) -> None:
    """By the mean of its noise: channels of its own are moved, and the whole ground that refines it is not."""
    plain = pipeline.adapter.config
    object.__setattr__(pipeline.adapter, "config", replace(plain, layouts=3))
    channels = np.arange(pipeline.family.shape((128, 128))[0])
    for seed in (3, 4, 8):
        whole = replace(brief(USERS[0]), seed=seed, steps=4)
        (moved,) = pipeline.start([whole]).samplers
        expected = first_noise(pipeline.family, moved.brief, moved.size)
        shift = (moved.latents - expected)[0].mean((1, 2)).numpy()
        assert shift == pytest.approx(LAYOUT * (channels % 3 == seed % 3) if plain.drafts else 0.0 * channels, abs=1e-5)


def test_an_enlarged_draft_is_the_draft() -> None:
    clean = torch.randn((1, 8, 16, 16), generator=torch.Generator().manual_seed(1))
    large = enlarged(clean, 2)
    assert large.shape == (1, 8, 32, 32)
    back = torch.nn.functional.avg_pool2d(large, 2)
    assert torch.corrcoef(torch.stack([back.flatten(), clean.flatten()]))[0, 1] > 0.9


@pytest.mark.parametrize("drafts", [-16, 100, 96, 1.5, True])
def test_drafts_that_do_not_divide_the_ground_are_refused(drafts: object) -> None:
    with pytest.raises(CheckpointError, match="drafts"):
        AdapterConfig(32, 32, grounds=256, drafts=drafts)  # type: ignore[arg-type]


@pytest.mark.parametrize("edge", [-16, 100, 4096, 1.5, True])
def test_an_edge_that_cannot_be_drawn_is_refused(edge: object) -> None:
    with pytest.raises(CheckpointError, match="grounds"):
        AdapterConfig(32, 32, grounds=edge)  # type: ignore[arg-type]


def test_covers_with_and_without_a_ground_are_drawn_in_one_call(pipeline: CoverPipeline) -> None:
    title, anchored = Brief("red square", seed=3, steps=2), brief(USERS[0])
    both = pipeline([title, anchored])
    assert [cover.size for cover in both] == [(128, 128), (256, 256)]
    assert np.abs(np.asarray(both[0], int) - np.asarray(pipeline([title])[0], int)).max() <= 2


def test_title_and_seed_of_the_item_do_not_change_the_ground_and_the_user_does(pipeline: CoverPipeline) -> None:
    first, other_title, other_user = pipeline(
        [brief(USERS[0]), replace(brief(USERS[0]), title="red square"), brief(USERS[1])]
    )
    assert first.tobytes() == other_title.tobytes()
    assert first.tobytes() != other_user.tobytes()


def test_the_service_draws_the_cover_of_the_library(pipeline: CoverPipeline) -> None:
    expected = pipeline([brief(USERS[0])])[0]
    scheduler = StepScheduler(pipeline, shared=0.5)
    try:
        alone = scheduler.submit(brief(USERS[0])).result(60)
        together = [scheduler.submit(brief(user), share=Share(3, USERS[0])) for user in USERS]
        assert np.abs(np.asarray(alone, int) - np.asarray(expected, int)).max() <= 2
        assert together[0].result(60).size == expected.size
        assert together[1].result(60).tobytes() != together[0].result(60).tobytes(), "each has the place of its user"
    finally:
        scheduler.close()


def test_the_checkpoint_says_how_much_grounds_are_sharpened_and_nothing_else_is(pipeline: CoverPipeline) -> None:
    title = Brief("teal disc", steps=2, size=(64, 64))
    soft, (alone,) = pipeline([brief(USERS[0])])[0], pipeline([title])
    pipeline.settings = DrawingSettings(sharpen=1.0)
    clear, (again,) = pipeline([brief(USERS[0])])[0], pipeline([title])
    assert soft.info["place"] == clear.info["place"]
    assert alone.tobytes() == again.tobytes(), "a cover from its title"
    assert edges(luminance(clear)).mean() > 1.1 * edges(luminance(soft)).mean()
    differs = np.abs(np.asarray(clear, int) - np.asarray(soft, int)).max(-1)
    edge, x, y = (round(share * soft.width) for share in soft.info["place"])
    assert differs[y - edge // 4 : y + edge // 4, x - edge // 4 : x + edge // 4].max() == 0, "the item's own pixels"
