"""The step scheduler against whole-request dynamic batching and against the bare model, on the shipped starter.

    python -m benchmarks.scheduler [--rounds 3] [--requests 60] [--only load overload overhead shared curve]

p95_ratio: latency under Poisson arrivals at 80 % of measured capacity, mixed steps (4 to 20) and users, ours / baseline.
throughput_ratio: covers a second with the queue never empty, ours / baseline. overload_goodput_ratio: covers within their deadline
at 120 %. overhead_local: a full batch through the scheduler / denoiser and decoder called directly with the same rows, minus 1.
shared_speedup, shared_reward_loss: one item x 32 users whose first step of eight is shared by those nearest to one of 32 tastes and who
are guided in the second alone, against eight guided steps of their own; the loss is the worst of the rewards'. guided_speedup,
guided_reward_loss: nothing shared, guided in the second and third.

The baseline takes whoever waits, in order of arrival and at most as many as a tick of ours, and answers them when the last is done.
Where it is `same`, a batch agrees on its steps, as one call of icg.CoverPipeline does: p95_ratio. Where it is `mixed` it is the
strongest of its kind, with our own sampler: any steps go together, what is through is not computed further, what is late already is
not begun: p95_ratio_mixed, and all other ratios. Capacity is that of `mixed`. All sides run the same model, prepared alike, in
turns, on the same arrivals.
"""

import argparse
import math
import queue
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from eyecatch.core.errors import Unavailable
from icg import starter
from icg.brief import Brief
from icg.draw.sampler import stack
from icg.errors import Shed
from icg.scheduler.engine import StepScheduler
from icg.scheduler.request import Share
from icg.starter import Starter
from icg.users.cold_start import TasteMixture
from PIL import Image

from benchmarks import report
from benchmarks.few_steps import SAMPLE, rows
from benchmarks.few_steps import briefs as sample

TITLES = ("panda", "rocket", "fox", "pizza")
BATCH = 8
GUIDED = 2 * BATCH
SIZE = (128, 128)
ALL, TWO, ONE = (0.0, 1.0), (0.125, 0.375), (0.125, 0.25)
"""Parts of eight steps that are guided."""
SHARED, TASTES = 0.125, 32
Curve = dict[str, dict[str, float]]


def user(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(64).astype(np.float32)
    return vector / np.linalg.norm(vector)


def arrivals(seed: int, count: int, rate: float) -> list[tuple[float, Brief]]:
    """Poisson, (seconds from the start, brief)."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, count)) if math.isfinite(rate) else np.zeros(count)
    return [
        (float(t), Brief(TITLES[rng.integers(4)], (), user(seed + n), seed=n, steps=int(rng.integers(4, 21))))
        for n, t in enumerate(times)
    ]


class WholeRequests:
    """The baseline: see the module. `ours` lends its prepared model and conditions; it idles meanwhile."""

    def __init__(self, ours: StepScheduler, mixed: bool) -> None:
        self._ours, self._mixed, self._waiting = ours, mixed, queue.Queue[Any]()
        self._held: list[Any] = []
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def submit(self, brief: Brief, timeout: float = math.inf) -> Future:
        future: Future = Future()
        self._waiting.put((brief, time.monotonic() + timeout, future))
        return future

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _batch(self) -> list[Any] | None:
        """The first in line and, up to BATCH, whoever may go with it."""
        self._held += [] if self._held else [self._waiting.get()]
        while not self._waiting.empty():
            self._held.append(self._waiting.get())
        if None in self._held:
            return None
        batch = [r for r in self._held if self._mixed or r[0].steps == self._held[0][0].steps][:BATCH]
        self._held = [r for r in self._held if r not in batch]
        return batch

    @torch.inference_mode()
    def _loop(self) -> None:
        while (batch := self._batch()) is not None:
            for _, _, future in (b for b in batch if b[1] < time.monotonic()):
                future.set_exception(Shed("late"))
            batch = [b for b in batch if b[1] >= time.monotonic() and not b[2].done()]
            pipeline = self._ours._pipeline
            runs = [pipeline.sampler(b) for b, _, _ in batch]
            while going := [run for run in runs if not run.finished]:
                for run, predictions in zip(going, self._ours._denoise(SIZE, "", None, going), strict=True):
                    run.advance(predictions)
            if runs:
                for (_, _, future), image in zip(
                    batch, pipeline.family.images(torch.cat([r.latents for r in runs])), strict=True
                ):
                    future.set_result(image)


def play(server: Any, trace: list[tuple[float, Brief]], timeout: Callable[[Brief], float]) -> tuple[list[float], float]:
    """Latencies of those that were made within their deadline, and the seconds from the first arrival to the last answer."""
    began, took, lock = time.monotonic(), [], threading.Lock()
    futures = []
    for at, brief in trace:
        time.sleep(max(0.0, began + at - time.monotonic()))
        due, limit = began + at, timeout(brief)

        def done(future: Future, due: float = due, limit: float = limit) -> None:
            if future.exception() is None and (seconds := time.monotonic() - due) <= limit:
                with lock:
                    took.append(seconds)

        try:
            future = server.submit(brief, timeout=limit)
        except Shed:
            continue
        future.add_done_callback(done)
        futures.append(future)
    for future in futures:
        error = future.exception()
        if error is not None and not isinstance(error, Shed | Unavailable):
            raise error
    return took, time.monotonic() - began


def turns(
    ours: StepScheduler, rounds: int, trace: Callable[[int], list], timeout: Callable[[Brief], float], *sides: str
) -> dict[str, list]:
    """{side: [(latencies, seconds) of each round]}, in turns."""
    results: dict[str, list] = {"ours": [], **{side: [] for side in sides}}
    for n in range(rounds):
        for side in sorted(results, reverse=n % 2 == 0):
            server = ours if side == "ours" else WholeRequests(ours, side == "mixed")
            results[side].append(play(server, trace(n), timeout))
            if server is not ours:
                server.close()
    return results


def capacity(ours: StepScheduler, rounds: int, requests: int) -> tuple[float, float]:
    """(covers a second of the stronger baseline, throughput ratio) with all requests there from the start."""
    results = turns(ours, rounds, lambda n: arrivals(1000 * n, requests, math.inf), lambda _: math.inf, "mixed")
    rates = {side: [len(took) / seconds for took, seconds in plays] for side, plays in results.items()}
    ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["mixed"], strict=True))
    return statistics.median(rates["mixed"]), ratio


def load(ours: StepScheduler, rounds: int, requests: int, rate: float) -> dict[str, float]:
    trace = lambda n: arrivals(1000 * n + 7, requests, 0.8 * rate)  # noqa: E731
    results = turns(ours, rounds, trace, lambda _: math.inf, "same", "mixed")
    p95 = {side: float(np.percentile([t for took, _ in plays for t in took], 95)) for side, plays in results.items()}
    done = {side: sum(len(took) for took, _ in plays) / sum(s for _, s in plays) for side, plays in results.items()}
    return {
        "p95_s": p95["ours"],
        "p95_ratio": p95["ours"] / p95["same"],
        "p95_ratio_mixed": p95["ours"] / p95["mixed"],
        "throughput_ratio_80": done["ours"] / done["mixed"],
    }


def overload(ours: StepScheduler, rounds: int, requests: int, rate: float) -> dict[str, float]:
    """Deadlines are four times what a request of its steps takes in a full batch's share of the machine."""
    step = 1 / rate / 12
    trace = lambda n: arrivals(1000 * n + 13, requests, 1.2 * rate)  # noqa: E731
    results = turns(ours, rounds, trace, lambda b: (b.steps + 4) * step * 4, "mixed")
    good = {side: sum(len(took) for took, _ in plays) / (rounds * requests) for side, plays in results.items()}
    return {"overload_goodput_ratio": good["ours"] / max(good["mixed"], 1e-9), "overload_goodput": good["ours"]}


def overhead(ours: StepScheduler, rounds: int) -> float:
    """See the module."""
    pipeline = ours._pipeline
    briefs = [Brief(TITLES[n % 4], (), user(n), seed=n, steps=12) for n in range(BATCH)]
    with torch.inference_mode():
        samplers = [pipeline.sampler(b) for b in briefs]
        ours._condition(samplers)
        rows = stack(samplers)

    @torch.inference_mode()
    def direct() -> None:
        for _ in range(12):
            pipeline.family.predict(*rows[:4], SIZE)
        pipeline.family.decode(rows.x[:BATCH])

    def scheduled() -> None:
        with ours._wake:  # so that all are in the first step
            futures = [ours.submit(b) for b in briefs]
        for future in futures:
            future.result()

    # A model runs a tenth slower beside the main thread (another heap): a server's calls come from there too.
    aside = ThreadPoolExecutor(1)
    ratios = []
    for n in range(rounds * 4 + 1):
        times = {}
        for work in sorted((direct, scheduled), key=lambda f: f.__name__, reverse=n % 2 == 0):
            began = time.perf_counter()
            aside.submit(work).result()
            times[work.__name__] = time.perf_counter() - began
        ratios.append(times["scheduled"] / times["direct"])
    return statistics.median(ratios[1:]) - 1


def speedups(parts: Starter, rounds: int) -> dict[str, float]:
    """Images a second for 32 users of one item, as the module says."""
    covers = covers_of(parts)
    users = covers[np.random.default_rng(0).integers(0, len(covers), 32)]
    plain = [Brief("panda", (), u, seed=n) for n, u in enumerate(users)]
    tastes = nearest(covers, TASTES, users)
    sides = {"none": (ALL, 0.0), "guided": (TWO, 0.0), "shared": (ONE, SHARED)}
    schedulers = {name: StepScheduler(parts.pipeline, shared=fraction) for name, (_, fraction) in sides.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for n in range(rounds + 1):
        for name in sorted(sides, reverse=n % 2 == 0):
            began = time.perf_counter()
            requests = [replace(b, guided=sides[name][0]) for b in plain]
            # Trunks are kept: another seed, and they are drawn again.
            covers = [schedulers[name].submit(b, share=Share(n, t)) for b, t in zip(requests, tastes, strict=True)]
            for future in covers:
                future.result()
            times[name].append(time.perf_counter() - began)
    for scheduler in schedulers.values():
        scheduler.close()
    return {
        f"{name}_speedup": statistics.median(a / b for a, b in zip(times["none"][1:], times[name][1:], strict=True))
        for name in ("shared", "guided")
    }


def covers_of(parts: Starter) -> np.ndarray:
    """Embeddings of all sample covers."""
    return parts.embedding.covers([Image.open(SAMPLE / row["image"]).convert("RGB") for row in rows("covers.csv")])


def nearest(covers: np.ndarray, tastes: int, users: np.ndarray) -> np.ndarray:
    """For each user the nearest of `tastes` centroids of covers."""
    centroids = TasteMixture.fit(covers, tastes, 1.0, 1.0).centroids
    return centroids[(users @ centroids.T).argmax(1)]


def losses(parts: Starter, items: int, users: int) -> dict[str, float]:
    """What shared_speedup and guided_speedup cost."""
    how = parts, items, users
    none, guided = (curve(*how, 0, [0.0], part)["0.0"] for part in (ALL, TWO))
    shared = curve(*how, TASTES, [SHARED], ONE)[str(SHARED)]
    return {"shared_reward_loss": loss(none, shared), "guided_reward_loss": loss(none, guided)}


def loss(plain: dict[str, float], other: dict[str, float]) -> float:
    """The worst reward's. Relevance is a difference around zero, of which a share says nothing: its loss is counted in reward."""
    return max((plain[k] - other[k]) / (1 if k == "relevance" else plain[k]) for k in plain)


def curve(
    parts: Starter, items: int, users: int, tastes: int, fractions: Sequence[float], guided: tuple[float, float]
) -> Curve:
    """{part of the steps shared: {reward: mean}}: users with the taste of a random sample cover, each item's users from one noise.

    The shared steps are drawn for the nearest of `tastes` centroids of all sample covers, for nobody when that is 0.
    """
    requests = [
        replace(b, seed=n // users, guided=guided)
        for n, b in enumerate(sample(parts, users, anchored=False)[: items * users])
    ]
    common: Sequence[np.ndarray | None] = [None] * len(requests)
    if tastes:
        common = list(nearest(covers_of(parts), tastes, np.stack([b.user_embedding for b in requests])))
    shares = [Share(b.seed, taste) for b, taste in zip(requests, common, strict=True)]
    results = {}
    for fraction in fractions:
        scheduler = StepScheduler(parts.pipeline, shared=fraction, queue=len(requests))
        futures = [scheduler.submit(b, share=share) for b, share in zip(requests, shares, strict=True)]
        covers = [future.result() for future in futures]
        scheduler.close()
        means = {name: round(float(r(covers, requests).mean()), 4) for name, r in parts.rewards.items()}
        results[str(fraction)] = means
        print(
            f"  guided {guided}  {tastes:3d} tastes  shared {fraction:5.3f}  "
            + "  ".join(f"{k} {v:.4f}" for k, v in means.items()),
            flush=True,
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = ["load", "overload", "overhead", "shared", "curve"]
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--items", type=int, default=12)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tastes", type=int, nargs="+", default=[0, 8, TASTES])
    parser.add_argument("--shared", type=float, nargs="+", default=[0.0, SHARED, 0.25, 0.5])
    parser.add_argument("--only", nargs="+", choices=every, default=every)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    parts = starter.load()
    ours = StepScheduler(parts.pipeline, rows=GUIDED, queue=max(64, args.requests))
    play(ours, arrivals(1, 2 * BATCH, math.inf), lambda _: math.inf)  # proves the sizes of calls
    result: dict[str, Any] = {}
    if {"load", "overload"} & set(args.only):
        rate, ratio = capacity(ours, args.rounds, args.requests // 2)
        result |= {"capacity_per_s": rate, "throughput_ratio": ratio}
    if "load" in args.only:
        result |= load(ours, args.rounds, args.requests, rate)
    if "overload" in args.only:
        result |= overload(ours, args.rounds, args.requests, rate)
    if "overhead" in args.only:
        result["overhead_local"] = overhead(ours, args.rounds)
    ours.close()
    if "shared" in args.only:
        result |= speedups(parts, args.rounds)
    if "curve" in args.only:
        how = parts, args.items, args.users
        result |= losses(*how)
        none = curve(*how, 0, [0.0], ALL)["0.0"]
        result["curve"] = {"none": none}
        for guided in (ALL, TWO, ONE):
            for tastes in args.tastes:
                results = curve(*how, tastes, args.shared, guided)
                result["curve"][f"guided {guided}, {tastes} tastes"] = results
                for means in results.values():
                    means["loss"] = round(loss(none, means), 4)
    result["threads"] = args.threads
    report(result)


if __name__ == "__main__":
    main()
