"""icg.CoverPipeline against the stock diffusers loop with the same conditioning, and what the adapter costs.

    python -m benchmarks.pipeline [--rounds 12] [--covers 200] [--batch 4]

step_overhead: time of start + steps + finish for a batch of warm items / time of the stock pipeline's call for it, minus 1.
adapter_share: conditioning of a warm item (cached reading, refiner, connector) / generation of its cover; cold_share: the same with the
VLM's reading.
memory_growth_mb: resident memory after `--covers` covers of ever new items and users, minus that after the first tenth of them; what the
allocator keeps for later (up to 50 MB, now more, now less) is given back before.
"""

import argparse
import ctypes
import statistics
import time

import numpy as np
import torch
from icg import starter
from icg.brief import Brief
from icg.draw.conditions import Conditioner
from icg.draw.sampler import first_noise

from benchmarks import report


def resident_mb() -> float:
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def user(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(64).astype(np.float32)
    return vector / np.linalg.norm(vector)


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--covers", type=int, default=200)
    parser.add_argument("--batch", type=int, default=4)
    args = parser.parse_args()
    pipeline = starter.load().pipeline
    pipeline.diffusion.set_progress_bar_config(disable=True)
    titles = ("panda", "rocket", "fox", "pizza")
    briefs = [Brief(titles[i % 4], (), user(i), seed=i, guidance=4.0) for i in range(args.batch)]
    conditions = [pipeline.conditioning(b) for b in briefs]
    conditioning = {name: torch.cat([c[name] for c in conditions]) for name in conditions[0]}
    ones = torch.ones(conditioning["prompt_embeds"].shape[:2])
    masks = {"prompt_attention_mask": ones, "negative_prompt_attention_mask": ones, "negative_prompt": None}
    latents = torch.cat([first_noise(pipeline.family, b, b.size) for b in briefs])
    size, steps = briefs[0].size, briefs[0].steps

    def stock() -> None:
        pipeline.diffusion(
            **conditioning,
            **masks,
            latents=latents.clone(),
            num_inference_steps=steps,
            guidance_scale=4.0,
            width=size[0],
            height=size[1],
            use_resolution_binning=False,
        )

    def warm() -> None:
        with torch.inference_mode():
            Conditioner(pipeline.adapter)([pipeline.sampler(b) for b in briefs])

    def cold() -> None:
        pipeline.readings.clear()
        warm()

    work = {"ours": lambda: pipeline(briefs), "stock": stock, "warm": warm, "cold": cold}
    times: dict[str, list[float]] = {name: [] for name in work}
    for n in range(args.rounds + 2):
        for name in sorted(work, reverse=n % 2 == 0):
            seconds = timed(work[name])
            if n >= 2:
                times[name].append(seconds)
    per = {name: statistics.median(values) for name, values in times.items()}
    pairs = zip(times["ours"], times["stock"], strict=True)
    first = 0.0
    for n in range(0, args.covers, args.batch):
        pipeline([Brief(f"item {n + i}", (), user(n + i), seed=n + i, steps=2) for i in range(args.batch)])
        if first == 0.0 and n >= args.covers // 10:
            first = resident_mb()
    result = {
        "step_overhead": statistics.median(a / b for a, b in pairs) - 1,
        "adapter_share": per["warm"] / per["ours"],
        "cold_share": per["cold"] / per["ours"],
        "cover_s": per["ours"] / args.batch,
        "memory_growth_mb": resident_mb() - first,
        "covers": args.covers,
    }
    report(result)


if __name__ == "__main__":
    main()
