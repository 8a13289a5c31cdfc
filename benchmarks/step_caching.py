"""Step caching on the starter: what the middle blocks added in one denoising step, taken again in the next. Against simply fewer steps.

    python -m benchmarks.step_caching [--rounds 2] [--items 80] [--users 1] [--threads 2]

After DeepCache (arXiv:2312.00858), for a transformer: blocks 2 to 4 of five are not computed in some of the eight steps; what they
added in the step before is added again. Each way is a row: time against eight whole steps, and the worst loss of a reward (as
benchmarks.scheduler counts it). best_speedup: of the ways of caching that lose at most 2 %, 1 where there is none; fewer_steps_speedup:
the same of fewer steps.
"""

import argparse
import statistics
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from icg import starter
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from PIL import Image

from benchmarks import report
from benchmarks.few_steps import briefs as sample
from benchmarks.scheduler import loss

BATCH = 8
BLOCKS = slice(1, 4)
REUSED: dict[str, tuple[int, ...]] = {
    "the last": (7,),
    "the last two": (6, 7),
    "the last three": (5, 6, 7),
    "every other from the fourth": (3, 5, 7),
    "every other": (1, 3, 5, 7),
}
FEWER = (7, 6, 5, 4)
ALLOWED = 0.02


class Cache:
    """Stands before the first and behind the last of some blocks."""

    def __init__(self, reused: Collection[int]) -> None:
        self.reused, self.step = reused, 0
        self.entered: Any = None
        self.added: Any = None

    @contextmanager
    def within(self, blocks: Any) -> Iterator[None]:
        """While open, `blocks` are skipped in the steps that reuse."""
        forwards = [block.forward for block in blocks]

        def first(x: Any, *args: Any, **more: Any) -> Any:
            self.entered = x
            return x + self.added if self.step in self.reused else forwards[0](x, *args, **more)

        def between(n: int) -> Any:
            return lambda x, *args, **more: x if self.step in self.reused else forwards[n](x, *args, **more)

        def last(x: Any, *args: Any, **more: Any) -> Any:
            if self.step in self.reused:
                return x
            out = forwards[-1](x, *args, **more)
            self.added = out - self.entered
            return out

        for block, forward in zip(blocks, [first, *map(between, range(1, len(blocks) - 1)), last], strict=True):
            block.forward = forward
        try:
            yield
        finally:
            for block in blocks:
                del block.forward


def draw(pipeline: CoverPipeline, requests: list[Brief], reused: Collection[int]) -> list[Image.Image]:
    """Covers of one batch, whose briefs are guided in all steps alike."""
    cache = Cache(reused)

    def count(step: int, _: int) -> bool:
        cache.step = step
        return True

    with cache.within(pipeline.family.denoiser.transformer_blocks[BLOCKS]):
        return pipeline(requests, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--items", type=int, default=80)
    parser.add_argument("--users", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    parts = starter.load()
    requests = sample(parts, args.users, anchored=False)[: args.items * args.users]
    ways = {"whole": (8, ())} | {name: (8, reused) for name, reused in REUSED.items()}
    ways |= {f"{steps} steps": (steps, ()) for steps in FEWER}
    draw(parts.pipeline, requests[:BATCH], ())
    covers: dict[str, list[Image.Image]] = {way: [] for way in ways}
    took: dict[str, list[float]] = {way: [] for way in ways}
    for n in range(args.rounds):
        for start in range(0, len(requests), BATCH):
            batch = requests[start : start + BATCH]
            for way in sorted(ways, reverse=n % 2 == 0):
                steps, reused = ways[way]
                began = time.perf_counter()
                images = draw(parts.pipeline, [replace(b, steps=steps) for b in batch], reused)
                took[way].append((time.perf_counter() - began) / len(batch))
                covers[way] += images if n == 0 else []
    means = {way: {k: float(r(covers[way], requests).mean()) for k, r in parts.rewards.items()} for way in ways}
    figures = {}
    for way in ways:
        ratio = statistics.median(a / b for a, b in zip(took["whole"], took[way], strict=True))
        figures[way] = {"speedup": round(ratio, 3), "loss": round(loss(means["whole"], means[way]), 4)} | {
            k: round(v, 4) for k, v in means[way].items()
        }
        print(f"{way:28} " + "  ".join(f"{k} {v}" for k, v in figures[way].items()))

    def best(names: Collection[str]) -> float:
        return max([1.0, *(figures[n]["speedup"] for n in names if figures[n]["loss"] <= ALLOWED)])

    fewer = best([f"{steps} steps" for steps in FEWER])
    report({"best_speedup": best(REUSED), "fewer_steps_speedup": fewer, "ways": figures})


if __name__ == "__main__":
    main()
