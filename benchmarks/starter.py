"""The shipped starter on this machine's CPU: time to a personalised cover, to four, denoiser rows, memory, and a cold start.

    python -m benchmarks.starter [--rounds 7]

Warm figures are medians in this process; the cold start is a fresh process from nothing to its first answered cover.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import eyecatch
import numpy as np
import torch
from icg.brief import Brief
from icg.draw.ask import anchoring
from icg.starter import Starter, load
from PIL import Image

from benchmarks import report

SAMPLE = Path(eyecatch.__file__).parent / "sample"
THREADS = 2


def brief(starter: Starter, item: str, seed: int) -> Brief:
    """A brief of a sample item for a user with a random taste: every call is another user, so nothing of it is cached."""
    user = np.random.default_rng(seed).standard_normal(64).astype(np.float32)
    picture = Image.open(SAMPLE / "images" / f"{item}-3d.webp")
    return Brief(
        title=item,
        references=(picture,),
        user_embedding=user / np.linalg.norm(user),
        seed=seed,
        **starter.pipeline.settings.knobs(around=True) | anchoring((picture,)),
    )


def cold() -> None:
    """What a fresh process does: import, load, one cover with its embedding."""
    torch.set_num_threads(THREADS)
    starter = load()
    starter.embedding.covers(starter.pipeline([brief(starter, "panda", 0)]))


def seconds(starter: Starter, count: int, seed: int) -> float:
    """Make and embed `count` covers in one batch, as the service does."""
    items = ("panda", "rocket", "fox", "pizza")[:count]
    started = time.perf_counter()
    starter.embedding.covers(starter.pipeline([brief(starter, item, seed + n) for n, item in enumerate(items)]))
    return time.perf_counter() - started


def rows(starter: Starter) -> dict[str, float]:
    """Denoiser rows of a cover of one picture: as they are, and a row of a smaller draft by its share of the cover's latents."""
    counts, places = list[int](), list[int]()

    def count(_module: torch.nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        latents = args[0] if args else kwargs["hidden_states"]
        assert isinstance(latents, torch.Tensor)
        counts.append(latents.shape[0])
        places.append(latents[0, 0].numel())

    denoisers = [drawer.family.denoiser for drawer in starter.pipeline.drawers.values()]
    hooks = [denoiser.register_forward_pre_hook(count, with_kwargs=True) for denoiser in denoisers]
    starter.pipeline([brief(starter, "panda", 0)])
    for hook in hooks:
        hook.remove()
    return {"rows_per_cover": sum(counts), "rows_of_whole_size": float(np.dot(counts, places) / max(places))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cold", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cold:
        return cold()
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "benchmarks.starter", "--cold"], check=True, stderr=subprocess.DEVNULL)
    result = {"cold_start_s": time.perf_counter() - started}
    torch.set_num_threads(THREADS)
    starter = load()
    seconds(starter, 4, 0)
    one, four = [], []
    for n in range(args.rounds):
        one.append(seconds(starter, 1, 100 + 10 * n))
        four.append(seconds(starter, 4, 101 + 10 * n))
    result |= {
        "first_cover_s": statistics.median(one),
        "four_covers_s": statistics.median(four),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": THREADS,
    } | rows(starter)
    report(result)


if __name__ == "__main__":
    main()
