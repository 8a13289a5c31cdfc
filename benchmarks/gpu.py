"""Full-size architectures with random weights on a GPU: the step scheduler against plain diffusers in bf16, in the same run.

    python -m benchmarks.gpu [--only sd15 sdxl starter] [--covers 32] [--steps 20] [--rounds 3] [--tokens 77] [--smoke]

Sides, in turns: `stock`, a call of the diffusers pipeline for each cover (eager, bf16, guidance on); `stock_batched`, calls of 8; and the
scheduler with `half` (bf16 as it comes), `graphs` (calls recorded as CUDA graphs), `fused` (queries, keys and values in one product
besides) and `compiled` (torch.compile and graphs). All are told the same conditions, of as many tokens.

images_per_s_ratio: the best of ours / `stock`, the lowest over sd15 and sdxl; images_per_s_ratio_batched: / `stock_batched`. mfu:
operations of its denoiser calls a second / those of a product of two matrices, at the best side, the lowest again. Of each side: images/s,
seconds of one cover alone, the most memory while it draws, and seconds until it was ready. For the starter also `reward_loss`: the worst
loss of its rewards against float32 (`icg.scheduler.fast` promises at most 0.02).
--smoke runs everything narrow and on the CPU, without graphs: the numbers mean nothing.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import diffusers
import numpy as np
import torch
from icg import starter
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.models import vlm as reading
from icg.models.compatible import family_of
from icg.scheduler.engine import GPU_ROWS, StepScheduler
from icg.scheduler.fast import NAMED, Fast
from icg.train.throughput import ceiling, flop_counter

from benchmarks.few_steps import briefs as sample
from benchmarks.scheduler import loss, user

SIDES = {name: fast for name, fast in NAMED.items() if fast} | {"fused": Fast(fused=True, compiled=False)}
HALF = SIDES["half"]
BATCH = 8
SIZES = {"sd15": (512, 512), "sdxl": (1024, 1024), "starter": (128, 128)}
Figures = dict[str, Any]


def autoencoder(narrow: bool) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8) if narrow else (128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1 if narrow else 2,
        norm_num_groups=4 if narrow else 32,
        latent_channels=4,
    )


def sd15(narrow: bool) -> Any:
    shape = {"block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4, "attention_head_dim": 2} if narrow else {}
    parts = {
        "unet": diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, **shape),
        "vae": autoencoder(narrow),
        "scheduler": diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
    }
    unused = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
    return diffusers.StableDiffusionPipeline(**parts, **unused, requires_safety_checker=False)


def sdxl(narrow: bool) -> Any:
    shape: dict[str, Any] = {
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
    }
    if narrow:
        shape = {"block_out_channels": (8, 16, 16), "attention_head_dim": 2, "norm_num_groups": 4}
    unet = diffusers.UNet2DConditionModel(
        sample_size=128,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
        **shape,
    )
    scheduler = diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear", timestep_spacing="leading")
    unused = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    return diffusers.StableDiffusionXLPipeline(
        unet=unet, vae=autoencoder(narrow), scheduler=scheduler, add_watermarker=False, **unused
    )


def pipeline_of(name: str, device: torch.device, tokens: int, narrow: bool) -> CoverPipeline:
    """With the starter's VLM; all weights but its own are random, and the same each time."""
    if name == "starter":
        return starter.load().pipeline.to(device)
    torch.manual_seed(0)
    stock = {"sd15": sd15, "sdxl": sdxl}[name](narrow)
    stock.set_progress_bar_config(disable=True)
    vlm, processor = reading.load(starter.path() / "vlm")
    spec, width = family_of(stock).spec, vlm.config.get_text_config().hidden_size
    pipeline = CoverPipeline(
        vlm, processor, stock, IcgAdapter(AdapterConfig(width, spec.width, spec.pooled, tokens=tokens))
    )
    for part in (stock.unet, stock.vae):
        part.eval().requires_grad_(False)
    return pipeline.to(device)


class Stock:
    """The diffusers pipeline itself, `batch` covers a call."""

    def __init__(self, pipeline: CoverPipeline, batch: int) -> None:
        HALF.prepare(pipeline)
        self.pipeline, self.batch = pipeline, batch

    @torch.inference_mode()
    def __call__(self, requests: list[Brief]) -> list[Any]:
        out: list[Any] = []
        for n in range(0, len(requests), self.batch):
            part = requests[n : n + self.batch]
            conditions = [self.pipeline.conditioning(b) for b in part]
            conditioning = {name: torch.cat([t[name] for t in conditions]).bfloat16() for name in conditions[0]}
            width, height = part[0].size
            out += self.pipeline.diffusion(
                **conditioning,
                num_inference_steps=part[0].steps,
                guidance_scale=part[0].guidance,
                width=width,
                height=height,
            ).images
        return out

    def close(self) -> None:
        """Nothing runs."""


class Ours:
    """The step scheduler."""

    def __init__(self, pipeline: CoverPipeline, fast: Fast, size: tuple[int, int], rows: int) -> None:
        self.pipeline, self.scheduler = pipeline, StepScheduler(pipeline, (size,), rows=rows, fast=fast)
        self.close = self.scheduler.close

    def __call__(self, requests: list[Brief]) -> list[Any]:
        return draw_all(self.scheduler, requests)


def draw_all(scheduler: StepScheduler, requests: list[Brief]) -> list[Any]:
    """All at once."""
    return [future.result() for future in [scheduler.submit(b) for b in requests]]


def operations(pipeline: CoverPipeline, size: tuple[int, int]) -> float:
    """Of one row through the denoiser."""
    kind = pipeline.adapter.unconditional(1)
    x = torch.randn(1, *pipeline.family.shape(size), device=pipeline.device)
    with torch.inference_mode(), flop_counter() as counter:
        pipeline.predict(x, torch.full((1,), 500.0, device=pipeline.device), *kind, None, None, size)
    return float(counter.get_total_flops())


def measure(name: str, device: torch.device, args: argparse.Namespace) -> Figures:
    """All sides of one architecture."""
    size = (64, 64) if args.smoke and name != "starter" else SIZES[name]
    requests = [
        Brief(f"cup {n}", user_embedding=user(n), seed=n, steps=args.steps, size=size) for n in range(args.covers)
    ]
    cuda, figures, works = device.type == "cuda", dict[str, Figures](), dict[str, Callable[[list[Brief]], list[Any]]]()
    sides: dict[str, Any] = {} if name == "starter" else {"stock": 1, "stock_batched": BATCH}
    for side, how in {**sides, **SIDES}.items():
        began = time.perf_counter()
        pipeline = pipeline_of(name, device, args.tokens, args.smoke)
        fast = how
        if isinstance(how, Fast):  # few rungs: each is compiled for itself, which takes a large model minutes
            fast = replace(how, rungs=(2, 2 * BATCH)) if cuda else replace(how, compiled=False, graphs=False)
        works[side] = Ours(pipeline, fast, size, args.rows) if isinstance(fast, Fast) else Stock(pipeline, fast)
        works[side](requests[:BATCH])
        works[side](requests[:1])
        figures[side] = {"ready_s": time.perf_counter() - began, "times": [], "alone": [], "bytes": 0}
    for n in range(args.rounds):
        for side in sorted(works, reverse=n % 2 == 0):
            if cuda:
                torch.cuda.reset_peak_memory_stats(device)
            held = torch.cuda.memory_allocated(device) if cuda else 0
            for key, part in (("times", requests), ("alone", requests[:1])):
                began = time.perf_counter()
                works[side](part)
                figures[side][key].append(time.perf_counter() - began)
            peak = torch.cuda.max_memory_allocated(device) if cuda else 0
            figures[side]["bytes"] = max(figures[side]["bytes"], peak - held)
    out: Figures = {}
    for side, each in figures.items():
        rate = args.covers / statistics.median(each["times"])
        out[side] = {
            "images_per_s": rate,
            "alone_s": statistics.median(each["alone"]),
            "working_mib": each["bytes"] / 2**20,
            "ready_s": each["ready_s"],
        }
    best = max(SIDES, key=lambda side: out[side]["images_per_s"])
    rate = out[best]["images_per_s"]
    row = operations(works["half"].pipeline, size)  # type: ignore[attr-defined]
    out |= {"best": best, "mfu": rate * 2 * args.steps * row / ceiling(device, torch.bfloat16)}
    if sides:
        out |= {f"ratio_{side}": rate / out[side]["images_per_s"] for side in sides}
    for work in works.values():
        work.close()  # type: ignore[attr-defined]
    return out


def reward_loss(device: torch.device, count: int, cuda: bool) -> float:
    """Of the starter's covers drawn fast, against float32 as it comes."""
    parts = starter.load()
    requests = sample(parts, 1, anchored=False)[:count]
    means = []
    for fast in (None, Fast() if cuda else HALF):
        scheduler = StepScheduler(starter.load().pipeline.to(device), queue=len(requests), fast=fast)
        covers = draw_all(scheduler, requests)
        scheduler.close()
        means.append({name: float(np.mean(reward(covers, requests))) for name, reward in parts.rewards.items()})
    return loss(*means)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--covers", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=77)
    parser.add_argument("--rows", type=int, default=GPU_ROWS)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    if not args.smoke and not torch.cuda.is_available():
        raise SystemExit("no CUDA device; allowed: --smoke without one")
    device = torch.device("cpu" if args.smoke else "cuda")
    result: Figures = {}
    for name in args.only:
        result[name] = measure(name, device, args)
        print(name, json.dumps(result[name], indent=1), flush=True)
        gc.collect()
    large = [figures for name, figures in result.items() if name != "starter"]
    if large:
        result["images_per_s_ratio"] = min(figures["ratio_stock"] for figures in large)
        result["images_per_s_ratio_batched"] = min(figures["ratio_stock_batched"] for figures in large)
        result["mfu"] = min(figures["mfu"] for figures in large)
    if "starter" in result:
        result["reward_loss"] = reward_loss(device, 4 if args.smoke else 96, not args.smoke)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
