"""Inpainting around a product: equal to the stock ControlNet pipelines, the product unchanged, whatever shares the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers as d
import numpy as np
import pytest
import torch
from icg.brief import Brief
from icg.compose.cover import compose
from icg.compose.scene import stand
from icg.draw.ask import anchoring
from icg.draw.pipeline import CoverPipeline
from icg.errors import BriefError, CheckpointError
from icg.products import compact
from icg.products.inpainting import Inpainter, planes
from icg.scheduler.engine import StepScheduler
from icg.starter import Starter
from PIL import Image, ImageDraw

from tests.unit.icg import tiny
from tests.unit.icg.models.test_families import SIZE, USER, covers_of

pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")


def cut_out(size: tuple[int, int] = (40, 60), colour: str = "red") -> Image.Image:
    image = Image.new("RGBA", size)
    ImageDraw.Draw(image).ellipse((8, 8, size[0] - 8, size[1] - 8), fill=colour)
    return image


def controlled(pipeline: CoverPipeline, seed: int = 3) -> CoverPipeline:
    """The pipeline with a ControlNet of random weights, none of them zero."""
    torch.manual_seed(seed)
    denoiser = pipeline.family.denoiser
    if isinstance(denoiser, d.SanaTransformer2DModel):
        net = compact.from_denoiser(denoiser, 1)
    else:
        net = d.ControlNetModel.from_unet(denoiser, conditioning_embedding_out_channels=(8, 8, 8, 8))
    for p in net.parameters():
        p.data += torch.randn_like(p) * 0.1
    pipeline.inpainter = Inpainter(net.eval(), pipeline.family)
    return pipeline


def product_brief(**settings: Any) -> Brief:
    values = {
        "user_embedding": USER,
        "seed": 5,
        "steps": 3,
        "guidance": 2.5,
        "size": SIZE,
        "product": cut_out(),
        "inpaint": True,
    }
    return Brief("red circle", **values | settings)


@pytest.mark.parametrize("name", ["sana", "sd15", "sdxl"])
def test_what_is_around_the_product_equals_the_stock_pipelines(small: Starter, name: str) -> None:
    pipeline = controlled(covers_of(small, name))
    brief = product_brief()
    mine = np.asarray(pipeline([brief])[0], np.float32) / 255
    placed = stand(cut_out(), brief.seed, SIZE)
    kwargs: dict[str, Any] = pipeline.conditioning(brief)
    latents = torch.randn((1, *pipeline.family.shape(SIZE)), generator=torch.Generator().manual_seed(5))
    assert pipeline.inpainter is not None
    settings = {
        "latents": latents,
        "num_inference_steps": 3,
        "height": 64,
        "width": 64,
        "output_type": "np",
        "guidance_scale": 2.5,
    }
    if name == "sana":
        ones = torch.ones(kwargs["prompt_embeds"].shape[:2])
        kwargs |= {"prompt_attention_mask": ones, "negative_prompt_attention_mask": ones, "negative_prompt": None}
        shown = planes(placed)
        stock = d.SanaControlNetPipeline(
            tokenizer=None,
            text_encoder=None,
            vae=pipeline.family.vae,
            transformer=pipeline.family.denoiser,
            controlnet=pipeline.inpainter.net,
            scheduler=pipeline.diffusion.scheduler,
        )
        kwargs |= {"control_image": shown[:, :3] * shown[:, 3:], "use_resolution_binning": False}
    else:
        kind = d.StableDiffusionControlNetPipeline if name == "sd15" else d.StableDiffusionXLControlNetPipeline
        unused = {
            key: None
            for key in kind.__init__.__annotations__
            if "encoder" in key or "tokenizer" in key or "feature" in key
        }
        unused |= (
            {"safety_checker": None, "requires_safety_checker": False} if name == "sd15" else {"add_watermarker": False}
        )
        stock = kind(
            vae=pipeline.family.vae,
            unet=pipeline.family.denoiser,
            controlnet=pipeline.inpainter.net,
            scheduler=pipeline.diffusion.scheduler,
            **unused,
        )
        kwargs["image"] = pipeline.inpainter.hint(planes(placed))
    scene = Image.fromarray((stock(**kwargs, **settings).images[0] * 255).round().astype(np.uint8))
    theirs = np.asarray(compose(brief, scene), np.float32) / 255
    free = np.asarray(placed.getchannel("A")) == 0
    assert np.abs(mine - theirs)[free].max() <= 1.01 / 255
    other = np.asarray(controlled(pipeline, seed=4)([brief])[0], np.float32) / 255
    assert np.abs(mine - other)[free].max() > 2 / 255, "the ControlNet has an effect"


def test_the_product_is_kept_pixel_for_pixel(small: Starter) -> None:
    pipeline, brief = controlled(covers_of(small, "sana")), product_brief(product=cut_out(colour="lime"))
    cover = np.asarray(pipeline([brief])[0])
    placed = np.asarray(stand(cut_out(colour="lime"), brief.seed, SIZE))
    whole = placed[..., 3] == 255
    assert whole.sum() > 100
    assert np.array_equal(cover[whole], placed[..., :3][whole])


def test_the_seed_decides_where_the_product_stands() -> None:
    boxes = {stand(cut_out(), seed, (128, 128)).getbbox() for seed in range(20)}
    assert len(boxes) > 10
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= 128
        assert 0 < top < bottom <= 120
        assert 0.25 < (bottom - top) / 128 < 0.5
    assert stand(cut_out(), 7, (128, 128)).tobytes() == stand(cut_out(), 7, (128, 128)).tobytes()


@pytest.mark.parametrize("size", [(900, 40), (40, 900), (3000, 2000), (2, 2)])
def test_a_cut_out_of_any_shape_fits(size: tuple[int, int]) -> None:
    product = Image.new("RGBA", (size[0] + 2, size[1] + 2))
    product.paste((9, 9, 9, 255), (1, 1, size[0] + 1, size[1] + 1))
    box = stand(product, 3, (128, 128)).getbbox()
    assert box is not None
    assert box[0] >= 0
    assert box[2] <= 128
    assert box[2] - box[0] <= 0.75 * 128


def test_it_is_saved_and_goes_on_other_denoisers_of_the_family(small: Starter, tmp_path: Path) -> None:
    pipeline = controlled(covers_of(small, "sana"))
    assert pipeline.inpainter is not None
    pipeline.inpainter.net.save_pretrained(tmp_path / "controlnet")
    other = covers_of(small, "sana")
    torch.manual_seed(9)
    other.family.denoiser.proj_out.weight.data += 0.05 * torch.randn_like(other.family.denoiser.proj_out.weight)
    other.inpainter = Inpainter.from_pretrained(tmp_path / "controlnet", other.family)
    cover, other_cover = (np.asarray(p([product_brief()])[0], int) for p in (pipeline, other))
    assert np.abs(cover - other_cover).max() > 0, "it is another denoiser"
    for p in other.inpainter.net.controlnet_blocks.parameters():
        p.data.zero_()
    free = np.asarray(stand(cut_out(), product_brief().seed, SIZE).getchannel("A")) == 0
    assert np.abs(other_cover - np.asarray(other([product_brief()])[0], int))[free].max() > 2, (
        "and the ControlNet has an effect there too"
    )
    again = covers_of(small, "sana")
    again.inpainter = Inpainter.from_pretrained(tmp_path / "controlnet", again.family)
    assert np.array_equal(np.asarray(again([product_brief()])[0], int), cover)
    with pytest.raises(CheckpointError, match="SanaControlNetModel for a UNet2DConditionModel"):
        Inpainter.from_pretrained(tmp_path / "controlnet", covers_of(small, "sd15").family)


def test_an_invalid_controlnet_is_named(small: Starter, tmp_path: Path) -> None:
    family = covers_of(small, "sd15").family
    with pytest.raises(CheckpointError, match=r"config\.json"):
        Inpainter.from_pretrained(tmp_path, family)
    other = d.ControlNetModel.from_unet(tiny.unet(cross_attention_dim=32, attention_head_dim=2))
    with pytest.raises(CheckpointError, match="cross_attention_dim=32; allowed: 24"):
        Inpainter(other, family)
    other.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    with pytest.raises(CheckpointError, match="safetensors"):
        Inpainter.from_pretrained(tmp_path / "pickled", family)


def test_briefs_that_cannot_be_inpainted_are_refused(small: Starter) -> None:
    with pytest.raises(BriefError, match="without a product"):
        Brief("a", inpaint=True)
    with pytest.raises(BriefError, match=r"reference_strength=0\.5"):
        Brief("a", product=cut_out(), reference_strength=0.5, inpaint=True)
    with pytest.raises(BriefError, match="no controlnet/"):
        covers_of(small, "sana")([product_brief()])
    with pytest.raises(BriefError, match="inpaint=\\[False, True\\] in one call"):
        controlled(covers_of(small, "sana")).start([product_brief(), product_brief(inpaint=False)])
    assert product_brief().digest() != product_brief(inpaint=False).digest()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    with pytest.raises(BriefError, match="clean cut-out"):
        anchoring([noise], inpaint=True)


def test_the_step_scheduler_paints_around_products_too(small: Starter) -> None:
    """Beside covers that are not inpainted, bit-equal to the cover alone."""
    pipeline = controlled(covers_of(small, "sana"))
    briefs = [product_brief(seed=n, steps=2 + n % 2, inpaint=n != 1) for n in range(4)]
    alone = [np.asarray(pipeline([b])[0], int) for b in briefs]
    scheduler = StepScheduler(pipeline, [SIZE])
    try:
        together = [f.result(60) for f in [scheduler.submit(b) for b in briefs]]
        once = scheduler.submit(briefs[0]).result(60)
    finally:
        scheduler.close()
    assert np.array_equal(np.asarray(together[0]), np.asarray(once))
    for mine, theirs in zip(together, alone, strict=True):
        assert np.abs(np.asarray(mine, int) - theirs).max() <= 1


def test_a_compact_controlnet_is_its_difference_from_the_denoiser(small: Starter, tmp_path: Path) -> None:
    pipeline = covers_of(small, "sana")
    denoiser = pipeline.family.denoiser
    torch.manual_seed(5)
    net = compact.from_denoiser(denoiser, 1)
    for p in net.parameters():  # of rank one for weights that do not start at zero
        if p.ndim > 1 and p.any():
            p.data += 0.1 * torch.outer(torch.randn(len(p)), torch.randn(p[0].numel())).view_as(p)
        else:
            p.data += 0.1 * torch.randn_like(p)
    pipeline.inpainter = Inpainter(net.eval(), pipeline.family)
    whole = np.asarray(pipeline([product_brief()])[0], int)
    compact.save(tmp_path, net, denoiser, rank=1)
    pipeline.inpainter = Inpainter.from_pretrained(tmp_path, pipeline.family)
    assert np.abs(np.asarray(pipeline([product_brief()])[0], int) - whole).max() <= 2, "except for half precision"
    stored = (tmp_path / compact.FILE).stat().st_size
    assert stored < 2 * sum(p.numel() for p in net.parameters())
    (tmp_path / "config.json").write_text('{"_class_name": "SanaControlNetModel", "num_layers": 9}')
    with pytest.raises(CheckpointError, match=r"num_layers=9; allowed: 1\.\.1"):
        Inpainter.from_pretrained(tmp_path, pipeline.family)
