"""Every diffusion family on its real classes, with widths so small that a cover takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers as d
import torch

TOKENS = 4


def autoencoder(channels: int, levels: int = 4, **more: Any) -> Any:
    """An AutoencoderKL that halves `levels` - 1 times."""
    return d.AutoencoderKL(
        block_out_channels=(8,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=channels,
        layers_per_block=1,
        norm_num_groups=4,
        **more,
    )


def unet(**more: Any) -> Any:
    """Two levels, cross-attention in both."""
    return d.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        **more,
    )


def sd15() -> Any:
    """PNDM, epsilon."""
    scheduler = d.PNDMScheduler(beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1)
    parts = {"unet": unet(cross_attention_dim=24, attention_head_dim=2), "vae": autoencoder(4), "scheduler": scheduler}
    unused = {"text_encoder": None, "tokenizer": None, "safety_checker": None, "feature_extractor": None}
    return d.StableDiffusionPipeline(**parts, **unused, requires_safety_checker=False)


def sd21() -> Any:
    """DDIM, v prediction."""
    scheduler = d.DDIMScheduler(
        beta_schedule="scaled_linear", prediction_type="v_prediction", clip_sample=False, steps_offset=1
    )
    model = unet(cross_attention_dim=32, attention_head_dim=(2, 4), use_linear_projection=True)
    unused = {"text_encoder": None, "tokenizer": None, "safety_checker": None, "feature_extractor": None}
    parts = {"unet": model, "vae": autoencoder(4), "scheduler": scheduler}
    return d.StableDiffusionPipeline(**parts, **unused, requires_safety_checker=False)


def sdxl() -> Any:
    """Euler, epsilon, pooled embedding and sizes."""
    extra = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    extra |= {"projection_class_embeddings_input_dim": 20 + 6 * 8, "use_linear_projection": True}
    model = unet(cross_attention_dim=40, attention_head_dim=(2, 4), **extra)
    unused = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    scheduler = d.EulerDiscreteScheduler(beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1)
    return d.StableDiffusionXLPipeline(
        unet=model, vae=autoencoder(4), scheduler=scheduler, add_watermarker=False, **unused
    )


def sd3() -> Any:
    """Flow matching with a pooled embedding; shifted as in 3.5."""
    model = d.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=24,
        caption_projection_dim=16,
        pooled_projection_dim=20,
    )
    unused = dict.fromkeys(f"{a}{b}" for a in ("text_encoder", "tokenizer") for b in ("", "_2", "_3"))
    vae = autoencoder(4, shift_factor=0.06, scaling_factor=1.5)
    return d.StableDiffusion3Pipeline(
        transformer=model, vae=vae, scheduler=d.FlowMatchEulerDiscreteScheduler(shift=3.0), **unused
    )


def flux() -> Any:
    """Packed latents, a distilled guidance input, shifts by size."""
    model = d.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=20,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )
    unused = dict.fromkeys(f"{a}{b}" for a in ("text_encoder", "tokenizer") for b in ("", "_2"))
    vae = autoencoder(4, shift_factor=0.1, scaling_factor=0.4, use_quant_conv=False, use_post_quant_conv=False)
    return d.FluxPipeline(
        transformer=model, vae=vae, scheduler=d.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), **unused
    )


def pixart() -> Any:
    """Learned variances, epsilon, DPM-Solver."""
    model = d.PixArtTransformer2DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=16,
        caption_channels=24,
        norm_type="ada_norm_single",
    )
    parts = {"transformer": model, "vae": autoencoder(4), "scheduler": d.DPMSolverMultistepScheduler()}
    return d.PixArtSigmaPipeline(**parts, text_encoder=None, tokenizer=None)


def sana() -> Any:
    """A deep-compression autoencoder, DPM-Solver on flow sigmas."""
    model = d.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,  # a ControlNet of Sana speaks after the second
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=24,
        sample_size=8,
        patch_size=2,
    )
    blocks: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        blocks |= {f"{side}_block_types": "ResBlock", f"{side}_block_out_channels": (8, 8, 8, 8)}
        blocks |= {f"{side}_layers_per_block": (1, 1, 1, 1), f"{side}_qkv_multiscales": ((), (), (), ())}
    vae = d.AutoencoderDC(latent_channels=4, upsample_block_type="interpolate", **blocks)
    scheduler = d.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, solver_order=2
    )
    return d.SanaPipeline(transformer=model, vae=vae, scheduler=scheduler, text_encoder=None, tokenizer=None)


def lcm() -> Any:
    """A UNet that was distilled with guidance as an input."""
    stock = sd15()
    stock.unet = unet(cross_attention_dim=24, attention_head_dim=2, time_cond_proj_dim=16)
    scheduler = d.LCMScheduler(beta_schedule="scaled_linear")
    parts = {**stock.components, "unet": stock.unet, "scheduler": scheduler}
    return d.LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)


def pixart_alpha() -> Any:
    """Takes size and aspect as inputs, as models of 1,024 pixels do."""
    stock = pixart()
    config = {**stock.transformer.config, "sample_size": 128, "use_additional_conditions": True}
    # A third of the width for each number of the size; the first third for two.
    model = d.PixArtTransformer2DModel.from_config(config | {"attention_head_dim": 12, "cross_attention_dim": 24})
    return d.PixArtAlphaPipeline(**{**stock.components, "transformer": model})


DIFFUSION: dict[str, Callable[[], Any]] = {
    "sd15": sd15,
    "sd21": sd21,
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
    "pixart": pixart,
    "sana": sana,
}


def diffusion(name: str) -> Any:
    """The stock pipeline with random, seeded weights."""
    torch.manual_seed(0)
    pipeline = DIFFUSION[name]()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
