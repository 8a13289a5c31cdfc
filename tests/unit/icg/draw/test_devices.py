"""Nothing of sampling or of a training step stays on the CPU: on torch's meta device a mixture of devices fails, as it does on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.models.families import to_bytes
from icg.rewards.mix import MixScores
from icg.train.alignment.grpo import Policy, PolicyConfig
from icg.train.alignment.reward_gradient import AlignConfig, Aligner
from icg.train.reliability.rfft import RFFTConfig, Tuner
from PIL import Image
from torch import Tensor

from tests.unit.icg import tiny
from tests.unit.icg.pipelines import PRODUCT, SIZE, brief
from tests.unit.icg.products.test_inpainting import controlled, cut_out
from tests.unit.icg.reliability.tiny_judge import judge

META = torch.device("meta")
pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")


class Brightness:
    """Replaces a mix of rewards: a real one reads values, which meta tensors do not have."""

    def tensor(self, images: Tensor, briefs: Sequence[Brief]) -> MixScores:
        assert images.device == META
        return MixScores(images.mean((1, 2, 3)), {}, {})


def on_meta(pipeline: CoverPipeline, briefs: Sequence[Brief]) -> CoverPipeline:
    """All modules of sampling, and readings of these items; the VLM, which other tests share, stays on its device."""
    parts = [pipeline.adapter, pipeline.family.denoiser, pipeline.family.vae]
    for part in (*parts, *([pipeline.inpainter.net] if pipeline.inpainter else [])):
        part.to(META)
    config = pipeline.adapter.config
    for one in briefs:
        pipeline.readings.read(one.item_digest(), lambda: torch.zeros(1, config.tokens, config.vlm, device=META))
    return pipeline


def all_on_meta(losses: dict[str, Tensor]) -> bool:
    return {value.device for value in losses.values()} == {META}


BRIEFS = [brief(1), brief(2, user_guidance=2.0, guided=(0.0, 0.5))]


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_the_pipeline_samples_and_decodes_on_its_device(covers: Callable[[str], CoverPipeline], name: str) -> None:
    pipeline = on_meta(covers(name), BRIEFS)
    batch = pipeline.start(BRIEFS)
    while pipeline.step(batch):
        pass
    pixels = to_bytes(pipeline.family.decode(batch.latents))
    assert (pixels.device, tuple(pixels.shape)) == (META, (2, *SIZE, 3))


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_a_step_of_reward_gradient_stays_on_its_device(covers: Callable[[str], CoverPipeline], name: str) -> None:
    model = Aligner(
        on_meta(covers(name), BRIEFS), Brightness(), lambda pixels: pixels.flatten(1)[:, :64], AlignConfig()
    )
    losses = model.loss(BRIEFS, np.random.default_rng(0))
    losses["loss"].backward()
    assert all_on_meta(losses)
    assert all(weight.grad is not None for weight in model.adapter.connector.parameters())


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_a_step_of_policy_gradient_stays_on_its_device(
    covers: Callable[[str], CoverPipeline], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = on_meta(covers(name), BRIEFS)
    monkeypatch.setattr(pipeline.family, "images", lambda latents: [Image.new("RGB", SIZE)] * len(latents))
    model = Policy(pipeline, lambda images, briefs: np.arange(len(images)), PolicyConfig(group=2))
    losses = model.loss(BRIEFS, np.random.default_rng(0))
    losses["loss"].backward()
    assert all_on_meta(losses)


@pytest.mark.parametrize("name", ["sana", "sd15", "sdxl"])
def test_a_step_of_rfft_stays_on_its_device(covers: Callable[[str], CoverPipeline], name: str) -> None:
    briefs = [brief(n, user_embedding=None, product=cut_out(), inpaint=True) for n in range(2)]
    pipeline = on_meta(controlled(covers(name)), briefs)
    tuner = Tuner(pipeline, judge().to(META), RFFTConfig())
    losses = tuner.loss(briefs, 2)
    losses["loss"].backward()
    assert all_on_meta(losses)
    assert any(weight.grad is not None for weight in tuner.tuned.net.parameters())


def test_an_anchored_cover_is_blended_on_its_device(
    covers: Callable[[str], CoverPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    anchored = [brief(1, product=PRODUCT, reference_strength=0.5)]
    pipeline = on_meta(covers("sana"), anchored)
    monkeypatch.setattr(pipeline.family, "images", lambda latents: [Image.new("RGB", SIZE)] * len(latents))
    batch = pipeline.start(anchored)
    while pipeline.step(batch):
        pass
    assert batch.latents.device == META
