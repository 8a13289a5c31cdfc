"""Each diffusion family: equal to the stock pipeline, one training step, saved, loaded, drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.errors import BriefError, CheckpointError
from icg.models.compatible import family_of
from icg.models.noise import mixture, random_mixture
from icg.starter import Starter
from icg.train.connector.pretraining import loss_of
from PIL import Image

from tests.unit.icg import tiny

USER = np.eye(64, dtype=np.float32)[3]
SIZE = (64, 64)
pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")


def adapter_for(pipeline: Any, width: int) -> IcgAdapter:
    torch.manual_seed(1)
    spec = family_of(pipeline).spec
    return IcgAdapter(AdapterConfig(vlm=width, caption=spec.width, pooled=spec.pooled, tokens=tiny.TOKENS)).eval()


def covers_of(small: Starter, name: str) -> CoverPipeline:
    stock, vlm = tiny.diffusion(name), small.pipeline.vlm
    width = vlm.get_input_embeddings().weight.shape[1]
    return CoverPipeline(vlm, small.pipeline.processor, stock, adapter_for(stock, width))


@pytest.mark.parametrize("negative", ["", "blue square"])
@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_a_cover_equals_the_stock_pipelines(small: Starter, name: str, negative: str) -> None:
    pipeline = covers_of(small, name)
    brief = Brief("red circle", user_embedding=USER, seed=5, steps=3, guidance=2.5, size=SIZE, negative=negative)
    mine = pipeline([brief])[0]
    kwargs: dict[str, Any] = pipeline.conditioning(brief)
    ones = torch.ones(kwargs["prompt_embeds"].shape[:2])
    latents = torch.randn((1, *pipeline.family.shape(SIZE)), generator=torch.Generator().manual_seed(5))
    if name in ("pixart", "sana"):
        masks = {"prompt_attention_mask": ones, "negative_prompt_attention_mask": ones, "negative_prompt": None}
        kwargs |= masks | {"use_resolution_binning": False}
    if name == "flux":  # its denoiser takes the guidance: no second row, and nothing to move away from
        kwargs = {key: value for key, value in kwargs.items() if not key.startswith("negative")}
        latents = latents.view(1, 4, 4, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 16, 16)
    drawing = {"guidance_scale": 2.5, "num_inference_steps": 3, "height": 64, "width": 64, "output_type": "np"}
    stock = pipeline.diffusion(**kwargs, **drawing, latents=latents.clone()).images[0]
    assert np.abs(np.asarray(mine, np.float32) / 255 - stock).max() <= 1.01 / 255
    other = pipeline([Brief("green square", user_embedding=-USER, seed=5, steps=3, guidance=2.5, size=SIZE)])[0]
    assert np.abs(np.asarray(mine, int) - np.asarray(other, int)).max() > 0


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_a_training_step_reaches_the_adapter_and_survives_saving(small: Starter, name: str, tmp_path: Path) -> None:
    pipeline = covers_of(small, name)
    pipeline.family.denoiser.requires_grad_(False)
    adapter = pipeline.adapter.train()
    items = torch.randn(2, tiny.TOKENS, adapter.config.vlm)
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    before = [p.detach().clone() for p in adapter.parameters()]
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-2)
    users = torch.from_numpy(np.stack([USER, -USER]))
    loss_of(pipeline.family, adapter, pipeline.diffusion.scheduler, pixels, items, users).backward()
    optimizer.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, adapter.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2
    adapter.eval().save_pretrained(tmp_path / "adapter", torch.float32)
    pipeline.diffusion.save_pretrained(tmp_path / "diffusion")
    small.pipeline.vlm.save_pretrained(tmp_path / "vlm")
    small.pipeline.processor.save_pretrained(tmp_path / "vlm")
    again = CoverPipeline.from_pretrained(tmp_path)
    brief = Brief("red circle", user_embedding=USER, seed=1, steps=2, size=SIZE)
    assert np.array_equal(np.asarray(pipeline([brief])[0]), np.asarray(again([brief])[0]))


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_the_mixture_is_the_schedulers(name: str) -> None:
    """With a denoiser that predicts the true noise, the scheduler itself reaches the clean latent."""
    pipeline = tiny.diffusion(name)
    family, scheduler = family_of(pipeline), pipeline.scheduler
    family.set_timesteps(scheduler, 12, SIZE)
    torch.manual_seed(0)
    clean, noise = torch.randn(2, 1, *family.shape(SIZE))
    x = mixture(scheduler, 0).latents(clean, noise)
    for step, t in enumerate(scheduler.timesteps):
        now = mixture(scheduler, step)
        target = now.target(clean, noise)
        assert torch.allclose(now.clean(x, target), clean, atol=0.05)
        x = scheduler.step(target, t, x, return_dict=False)[0]
    assert torch.allclose(x, clean, atol=0.1)
    training, _ = random_mixture(scheduler, 1)
    x = training.latents(clean, noise)
    assert torch.allclose(training.clean(x, training.target(clean, noise)), clean, atol=1e-3)


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sd3", "pixart"])
def test_the_denoiser_sees_the_product(small: Starter, name: str) -> None:
    pipeline = covers_of(small, name)
    latents = []
    for colour in ("white", "black"):
        product = Image.new("RGBA", (40, 40))
        product.paste(Image.new("RGBA", (20, 20), colour), (10, 10))
        batch = pipeline.start([Brief("x", steps=4, reference_strength=0.9, size=SIZE, product=product)])
        while pipeline.step(batch):
            pass
        latents.append(batch.latents)
    assert not torch.equal(*latents)


def test_a_model_that_does_not_fit_is_named(small: Starter) -> None:
    stock = tiny.diffusion("sdxl")
    width = small.pipeline.vlm.get_input_embeddings().weight.shape[1]
    of_sd3 = adapter_for(tiny.diffusion("sd3"), width)
    with pytest.raises(CheckpointError, match="caption width=24; allowed: 40"):
        CoverPipeline(small.pipeline.vlm, small.pipeline.processor, stock, of_sd3)
    pipeline = covers_of(small, "sd15")
    with pytest.raises(BriefError, match="multiples of 16"):
        pipeline.start([Brief("a", size=(80, 72))])
    with pytest.raises(CheckpointError, match="allowed: a pipeline with"):
        family_of(small)
