"""What the road of docs/checkpoints.md would take on a GPU: an ESTIMATE, from operations that are counted and a speed that is assumed.

    python -m benchmarks.road [--peak 989] [--share 0.4]

Counts, on torch's meta device and without weights, the operations of denoisers and autoencoders of full size; nothing is drawn. `peak`:
10^12 operations a second of the GPU by its maker (an H100 SXM in bfloat16 without sparsity). `share` of it that is reached: assumed. The
VLM's readings, which are computed once an item, and data loading are left out.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from icg.adapter.connector import Connector
from icg.models.compatible import family_of
from icg.models.families import Family
from icg.train.alignment.recipe import FEW
from icg.train.throughput import flop_counter
from torch import Tensor

from benchmarks.gpu import sd15, sdxl

TOKENS, VLM = 77, 2048
"""Meta tokens, and the width of Qwen2.5-VL-3B."""
CONNECTOR, ALIGNMENT = (20_000, 16), (300, 16)
"""Default steps and examples a step of these recipes."""
LATE = 3
"""As in icg.train.alignment.reward_gradient: a gradient enters at one of so many last steps."""


@dataclass(frozen=True)
class Model:
    """size: (width, height) of its covers. steps: of a cover. rows: of a step; 1 for a denoiser that takes guidance as an input."""

    build: Callable[[], Any]
    size: tuple[int, int]
    steps: int
    rows: int = 2


def wide_autoencoder() -> Any:
    """Of SD3 and FLUX.1."""
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def sd35_medium() -> Any:
    model = diffusers.SD3Transformer2DModel(
        sample_size=128,
        num_layers=24,
        attention_head_dim=64,
        num_attention_heads=24,
        joint_attention_dim=4096,
        caption_projection_dim=1536,
        pooled_projection_dim=2048,
        pos_embed_max_size=384,
        dual_attention_layers=tuple(range(13)),
        qk_norm="rms_norm",
    )
    unused = dict.fromkeys(f"{part}{n}" for part in ("text_encoder", "tokenizer") for n in ("", "_2", "_3"))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    return diffusers.StableDiffusion3Pipeline(transformer=model, vae=wide_autoencoder(), scheduler=scheduler, **unused)


def flux_dev() -> Any:
    model = diffusers.FluxTransformer2DModel(guidance_embeds=True)
    unused = dict.fromkeys(f"{part}{n}" for part in ("text_encoder", "tokenizer") for n in ("", "_2"))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return diffusers.FluxPipeline(transformer=model, vae=wide_autoencoder(), scheduler=scheduler, **unused)


def sana_600m() -> Any:
    model = diffusers.SanaTransformer2DModel(
        num_layers=28,
        num_attention_heads=36,
        attention_head_dim=32,
        num_cross_attention_heads=16,
        cross_attention_head_dim=72,
        cross_attention_dim=1152,
        caption_channels=2304,
    )
    scheduler = diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    vae = diffusers.AutoencoderDC(
        latent_channels=32,
        encoder_block_types=("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
        decoder_block_types=("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
        encoder_qkv_multiscales=((), (), (), (5,), (5,), (5,)),
        decoder_qkv_multiscales=((), (), (), (5,), (5,), (5,)),
    )
    return diffusers.SanaPipeline(transformer=model, vae=vae, scheduler=scheduler, text_encoder=None, tokenizer=None)


MODELS = {
    "Stable Diffusion 1.5": Model(lambda: sd15(narrow=False), (512, 512), 30),
    "SDXL": Model(lambda: sdxl(narrow=False), (1024, 1024), 30),
    "SD3.5-medium": Model(sd35_medium, (1024, 1024), 28),
    "FLUX.1-dev": Model(flux_dev, (1024, 1024), 28, rows=1),
    "Sana 600M": Model(sana_600m, (512, 512), 20),
}


def operations(work: Callable[[], Tensor], gradient: bool = False) -> float:
    """Of one call, with those of its gradient if asked."""
    with torch.set_grad_enabled(gradient), flop_counter() as counter:
        out = work()
        if gradient:
            out.float().square().sum().backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops())


def counted(model: Model) -> dict[str, float]:
    """Operations of one row of the denoiser, of a picture's decoding, and of both with gradients; parameters of both."""
    with init_empty_weights():
        family: Family = family_of(model.build())
    with torch.device("meta"):
        for part in (family.denoiser, family.vae):
            part.to("meta").eval().requires_grad_(False)
        connector = Connector(VLM, family.spec, 2, 16, TOKENS)
        tokens = torch.zeros(1, TOKENS, VLM)
        latents = torch.zeros(1, *family.shape(model.size), requires_grad=True)
        t = torch.full((1,), 500.0)
        guidance = torch.full((1,), 3.5) if model.rows == 1 else None

        def row() -> Tensor:
            embeds, pooled = connector(tokens)
            extra = {} if guidance is None else {"guidance": guidance}
            return family.predict(latents, t, embeds, pooled, model.size, **extra)

        return {
            "row": operations(row),
            "row_gradient": operations(row, gradient=True),
            "decode": operations(lambda: family.decode(latents)),
            "decode_gradient": operations(lambda: family.decode(latents), gradient=True),
            "parameters": float(sum(p.numel() for part in (family.denoiser, family.vae) for p in part.parameters())),
        }


def estimate(model: Model, count: dict[str, float], speed: float) -> dict[str, float]:
    """Seconds of a cover, and hours of the recipes at their defaults, at `speed` operations a second."""
    cover = model.steps * model.rows * count["row"] + count["decode"]
    before = model.rows * (FEW - 1 - (LATE - 1) / 2)
    aligned = (before + 2) * count["row"] + 3 * count["row_gradient"] + count["decode_gradient"]
    return {
        "cover_s": cover / speed,
        "connector_h": CONNECTOR[0] * CONNECTOR[1] * count["row_gradient"] / speed / 3600,
        "alignment_h": ALIGNMENT[0] * ALIGNMENT[1] * aligned / speed / 3600,
        "weights_gb": 2 * count["parameters"] / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", type=float, default=989.0, help="10^12 operations a second, by the GPU's maker")
    parser.add_argument("--share", type=float, default=0.4, help="share of the peak that is reached: assumed")
    args = parser.parse_args()
    result = {}
    for name, model in MODELS.items():
        figures = estimate(model, counted(model), args.peak * args.share * 1e12)
        result[name] = {key: float(f"{value:.3g}") for key, value in figures.items()}
        size = "x".join(map(str, model.size))
        print(f"{name:22} {size:>9}, {model.steps} steps: " + ", ".join(f"{k} {v}" for k, v in result[name].items()))
    print(json.dumps({"peak": args.peak, "share": args.share, "estimates": result}))


if __name__ == "__main__":
    main()
