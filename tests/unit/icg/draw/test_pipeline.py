"""The pipeline on a smoke-trained starter: independence of the batch, the step API, stock diffusers, cancel, cache."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.errors import BriefError, Cancelled
from icg.starter import Starter
from PIL import Image

USER = np.eye(64, dtype=np.float32)[3]
REFERENCE = Image.new("RGB", (50, 40), "green")


def difference(a: Image.Image, b: Image.Image) -> int:
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())


def briefs() -> list[Brief]:
    return [
        Brief("red circle", user_embedding=USER, seed=1, steps=4),
        Brief("blue square", (REFERENCE,), -USER, seed=2, steps=4, guidance=3.5, strength=0.4),
        Brief("green triangle", (REFERENCE,), None, seed=3, steps=4, reference_strength=0.5, product=shoe()),
        Brief("red circle", user_embedding=USER, seed=1, steps=4, user_guidance=4.0),
        Brief("red circle", user_embedding=USER, seed=1, steps=4, guided=(0.25, 0.5)),
    ]


def test_a_cover_does_not_depend_on_its_batch(small: Starter) -> None:
    together = small.pipeline(briefs())
    for brief, image in zip(briefs(), together, strict=True):
        assert image.size == (128, 128)
        assert difference(small.pipeline([brief])[0], image) <= 1
    assert difference(together[0], small.pipeline([Brief("red circle", user_embedding=USER, seed=2, steps=4)])[0]) > 3


@pytest.mark.parametrize("follows", [True, False])
def test_a_segments_words_reach_the_vlm_where_the_adapter_follows_them(small: Starter, follows: bool) -> None:
    plain = Brief("red circle", seed=1, steps=2)
    adapter = small.pipeline.adapter
    before, adapter.config = adapter.config, replace(adapter.config, audience=follows)
    try:
        changed = small.pipeline.item(replace(plain, audience="coffee enthusiasts")) - small.pipeline.item(plain)
    finally:
        adapter.config = before
        small.pipeline.readings.clear()
    assert bool(changed.abs().max() > 1e-6) is follows


def test_steps_equal_the_call(small: Starter) -> None:
    batch = small.pipeline.start(briefs()[:2])
    steps_run = 1
    while small.pipeline.step(batch):
        steps_run += 1
    assert steps_run == batch.total == 4
    assert small.pipeline.step(batch) is False
    for mine, other in zip(small.pipeline.finish(batch), small.pipeline(briefs()[:2]), strict=True):
        assert difference(mine, other) == 0


def test_equals_the_stock_diffusers_pipeline(small: Starter) -> None:
    pipeline, brief = small.pipeline, Brief("red circle", user_embedding=USER, seed=5, steps=4, guidance=2.5)
    kwargs = pipeline.conditioning(brief)
    ones = torch.ones(kwargs["prompt_embeds"].shape[:2])
    stock = pipeline.diffusion(
        prompt=None,
        negative_prompt=None,
        **kwargs,
        prompt_attention_mask=ones,
        negative_prompt_attention_mask=ones,
        latents=torch.randn(
            (1, pipeline.diffusion.transformer.config.in_channels, 16, 16), generator=torch.Generator().manual_seed(5)
        ),
        num_inference_steps=4,
        guidance_scale=2.5,
        height=128,
        width=128,
        use_resolution_binning=False,
    ).images[0]
    assert difference(stock, pipeline([brief])[0]) <= 1


def test_guidance_in_a_part_of_the_steps(small: Starter) -> None:
    plain = Brief("red circle", user_embedding=USER, seed=5, steps=4, guidance=20)
    parts = [replace(plain, guided=part) for part in ((0.0, 1.0), (0.0, 0.0), (0.25, 0.5))]
    whole, never, partial = (small.pipeline([b])[0] for b in parts)
    assert difference(whole, small.pipeline([plain])[0]) == 0
    assert difference(never, small.pipeline([replace(plain, guidance=1.0)])[0]) <= 1
    assert min(difference(partial, whole), difference(partial, never)) > 3
    assert [step for step in range(4) if parts[2].guides(step)] == [1]


def test_cancel_stops_between_steps(small: Starter) -> None:
    calls: list[tuple[int, int]] = []

    def stop(step: int, total: int) -> bool:
        calls.append((step, total))
        return step < 2

    with pytest.raises(Cancelled):
        small.pipeline(briefs(), stop)
    assert calls == [(1, 4), (2, 4)]


def test_an_item_is_read_once_and_the_cache_is_bounded(small: Starter) -> None:
    p = small.pipeline
    pipeline = CoverPipeline(p.vlm, p.processor, p.diffusion, p.adapter, cache=2)
    for user in (None, USER, -USER):
        pipeline.start([Brief("red circle", user_embedding=user, steps=1)])
    assert pipeline.reads == 1
    pipeline.start([Brief(t, steps=1) for t in ("a", "b", "c")])
    assert pipeline.reads == 4
    pipeline.start([Brief("red circle", steps=1)])
    assert pipeline.reads == 5


def test_user_moves_the_conditioning_and_strength_0_is_cold(small: Starter) -> None:
    briefs = (
        Brief("red circle"),
        Brief("red circle", user_embedding=USER, strength=0.0),
        Brief("red circle", user_embedding=USER),
    )
    cold, off, on = (small.pipeline.conditioning(b)["prompt_embeds"] for b in briefs)
    assert torch.equal(cold, off)
    assert not torch.allclose(cold, on, atol=1e-4)


def test_covers_of_a_call_may_differ_in_size_and_those_of_a_batch_in_nothing_that_they_share(small: Starter) -> None:
    with pytest.raises(BriefError, match=r"steps=\[2, 3\]"):
        small.pipeline([Brief("a", steps=2), Brief("b", steps=3)])
    with pytest.raises(BriefError, match="size"):
        small.pipeline.start([Brief("a"), Brief("b", size=(128, 96))])
    both = small.pipeline([Brief("a", steps=1), Brief("b", size=(128, 96), steps=1)])
    assert [cover.size for cover in both] == [(128, 128), (128, 96)]
    assert small.pipeline([]) == []
    assert small.pipeline([Brief("a", size=(128, 96), steps=1)])[0].size == (128, 96)


def test_a_user_of_another_width_is_refused(small: Starter) -> None:
    with pytest.raises(BriefError, match="allowed: 64"):
        small.pipeline([Brief("a", user_embedding=np.ones(32), steps=1)])


def shoe() -> Image.Image:
    """A cut-out with a hole and a half-transparent rim, not in the middle of its canvas."""
    picture = Image.new("RGBA", (90, 60), (9, 9, 9, 0))
    picture.paste((10, 200, 30, 128), (20, 10, 80, 50))
    picture.paste((10, 200, 30, 255), (22, 12, 78, 48))
    picture.paste((0, 0, 0, 0), (40, 25, 50, 35))
    return picture


@pytest.mark.parametrize("anchored", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("steps", [1, 8])
def test_a_product_stays_as_it_is_wherever_it_stands(small: Starter, anchored: float, steps: int) -> None:
    brief = Brief("green shoe", (), USER, seed=3, steps=steps, reference_strength=anchored, product=shoe())
    batch = small.pipeline.start([brief, replace(brief, product=None, reference_strength=0.0)])
    while small.pipeline.step(batch):
        pass
    cover, other = (np.asarray(c) for c in small.pipeline.finish(batch))
    unchanged = (cover == (10, 200, 30)).all(-1)
    height, width = (np.ptp(v) + 1 for v in np.nonzero(unchanged))
    assert width / height == pytest.approx(56 / 36, rel=0.1), "nothing of it is cut off"
    assert width >= 0.4 * cover.shape[1]
    share = (56 * 36 - 100) / (56 * 36)
    assert unchanged.sum() == pytest.approx(share * width * height, rel=0.1), "all of it is visible, except the hole"
    assert not (other == (10, 200, 30)).all(-1).any()
