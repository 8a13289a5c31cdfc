"""Covers through a real Triton server, against whole-request dynamic batching on it and against the scheduler in this process.

    python -m benchmarks.generation [--rounds 3] [--requests 40] [--only triton local]

p95_ratio: latency under Poisson arrivals at 80 % of the baseline's capacity, mixed steps (4 to 20) and users, cover_generator / Triton's
dynamic batching of whole requests, both behind the same server. The baseline calls the pipeline, once for those of equal steps, and
answers a batch when all of it is drawn; p95_ratio_mixed is against the strongest of its kind (benchmarks/triton).
overhead_triton: eight covers at once through Triton / through a step scheduler in this process, minus 1; overhead_triton_alone: one
cover; overhead_triton_progress: eight, hearing of each step on both sides. All sides in turns, on the same arrivals. The other figures
are those of benchmarks.scheduler: throughput_ratio, overload_goodput_ratio, overhead_local, shared_speedup, shared_reward_loss,
guided_speedup, guided_reward_loss.
"""

import argparse
import asyncio
import math
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import torch
from eyecatch.core import generator
from eyecatch.core.drawing import Drawing
from eyecatch.generators import triton_wire as wire
from eyecatch.generators.triton import TritonGenerator, TritonOptions
from icg import starter
from icg.brief import Brief
from icg.scheduler.engine import StepScheduler
from tritonclient.grpc import InferInput

from benchmarks import report
from benchmarks.scheduler import (
    BATCH,
    GUIDED,
    TITLES,
    arrivals,
    capacity,
    losses,
    overhead,
    overload,
    play,
    speedups,
    user,
)
from tests.triton import REPOSITORY, running

WHOLE = Path(__file__).parent / "triton" / "whole_requests"
WHOLE_MODELS = {"whole_calls": "", "whole_requests": "_mixed"}
STEPS = 12


class OverTriton:
    """`submit` as the step scheduler has it, on a server; an event loop of its own thread does the talking."""

    def __init__(self, address: str, whole: str = "") -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._generator = self._run(self._connected(address)).result()
        self._model, self._work = whole, self._whole if whole else self._draw

    def submit(
        self, brief: Brief, timeout: float = math.inf, on_progress: Callable[[int, int], None] | None = None
    ) -> Future:
        return self._run(self._work(brief, min(timeout, 600.0), on_progress or (lambda *_: None)))

    def close(self) -> None:
        self._run(self._generator.close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, work: Any) -> Future:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _connected(self, address: str) -> TritonGenerator:
        return TritonGenerator([address], TritonOptions(600.0, 2, 0))

    async def _draw(self, brief: Brief, limit: float, on_progress: Callable[[int, int], None]) -> Any:
        request = generator.Brief(brief.title, (), brief.user_embedding, brief.seed, Drawing(brief.steps))
        (endpoint,) = self._generator.endpoints.all
        return await self._generator._draw(endpoint, request, time.monotonic() + limit, on_progress, None)

    async def _whole(self, brief: Brief, limit: float, on_progress: Callable[[int, int], None]) -> Any:
        tensors = {
            "title": np.frombuffer(brief.title.ljust(16).encode(), np.uint8)[None],
            "user_embedding": brief.user_embedding[None],
            "seed": np.array([[brief.seed]]),
            "steps": np.array([[brief.steps]]),
        }
        inputs = []
        for name, array in tensors.items():
            inputs.append(InferInput(name, list(array.shape), wire.TYPES[array.dtype.str[1:]]))
            inputs[-1].set_data_from_numpy(array)
        (endpoint,) = self._generator.endpoints.all
        return (await endpoint.client.infer(self._model, inputs)).as_numpy("image")


def p95(address: str, whole: str, rounds: int, requests: int) -> dict[str, float]:
    """Against one of WHOLE_MODELS."""
    kind, sides = WHOLE_MODELS[whole], {"ours": OverTriton(address), "whole": OverTriton(address, whole)}
    for side in sides.values():
        play(side, arrivals(1, 2 * BATCH, math.inf), lambda _: math.inf)  # proves the sizes of calls
    took, seconds = play(sides["whole"], arrivals(2, requests // 2, math.inf), lambda _: math.inf)
    rate = len(took) / seconds
    results: dict[str, list[float]] = {side: [] for side in sides}
    done: dict[str, list[float]] = {side: [] for side in sides}
    for n in range(rounds):
        for side in sorted(sides, reverse=n % 2 == 0):
            took, seconds = play(sides[side], arrivals(1000 * n + 7, requests, 0.8 * rate), lambda _: math.inf)
            results[side] += took
            done[side].append(len(took) / seconds)
    for side in sides.values():
        side.close()
    late = {side: float(np.percentile(took, 95)) for side, took in results.items()}
    return {
        f"{whole}_per_s": rate,
        f"p95_s{kind}": late["ours"],
        f"p95_ratio{kind}": late["ours"] / late["whole"],
        f"throughput_ratio_80{kind}": statistics.median(
            a / b for a, b in zip(done["ours"], done["whole"], strict=True)
        ),
    }


def overhead_triton(address: str, ours: StepScheduler, rounds: int) -> dict[str, float]:
    """See the module."""
    through = OverTriton(address)
    briefs = [Brief(TITLES[n % 4], (), user(n), seed=n, steps=STEPS) for n in range(BATCH)]
    heard: list[tuple[int, int]] = []

    def seconds(server: Any, count: int, **how: Any) -> float:
        began = time.perf_counter()
        for future in [server.submit(b, **how) for b in briefs[:count]]:
            future.result()
        return time.perf_counter() - began

    kinds: dict[str, tuple[int, dict[str, Any]]] = {
        "overhead_triton": (BATCH, {}),
        "overhead_triton_alone": (1, {}),
        "overhead_triton_progress": (BATCH, {"on_progress": lambda *at: heard.append(at)}),
    }
    ratios: dict[str, list[float]] = {kind: [] for kind in kinds}
    for n in range(4 * rounds + 1):
        for kind, (count, how) in kinds.items():
            pair = {}
            for name, server in sorted({"local": ours, "triton": through}.items(), reverse=n % 2 == 0):
                pair[name] = seconds(server, count, **how)
            ratios[kind].append(pair["triton"] / pair["local"] - 1)
    through.close()
    return {kind: statistics.median(results[1:]) for kind, results in ratios.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=["triton", "local"], default=["triton", "local"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # of the server that we start
    parts = starter.load()
    ours = StepScheduler(parts.pipeline, rows=GUIDED, queue=max(64, args.requests))
    play(ours, arrivals(1, 2 * BATCH, math.inf), lambda _: math.inf)
    result: dict[str, Any] = {}
    if "triton" in args.only:
        with tempfile.TemporaryDirectory() as folder:
            repository = shutil.copytree(REPOSITORY, Path(folder) / "repository")
            for name in WHOLE_MODELS:
                shutil.copytree(WHOLE, Path(repository) / name)
            with running(repository, ("cover_generator", *WHOLE_MODELS)) as server:
                for name in WHOLE_MODELS:
                    result |= p95(server.ready().address, name, args.rounds, args.requests)
                result |= overhead_triton(server.address, ours, args.rounds)
    if "local" in args.only:
        rate, ratio = capacity(ours, args.rounds, args.requests // 2)
        result["throughput_ratio"] = ratio
        result |= overload(ours, args.rounds, args.requests, rate)
        result["overhead_local"] = overhead(ours, args.rounds)
    ours.close()
    if "local" in args.only:
        result |= speedups(parts, args.rounds) | losses(parts, 12, 8)
    result["threads"] = args.threads
    report(result)


if __name__ == "__main__":
    main()
