"""The loop: one thread, one denoising step of the running batch a tick, and between two ticks requests come and go.

Each tick: end who withdrew or cannot make it, take the first in line as far as memory goes, one denoiser call (or as few as agree bit
by bit) on all their rows, tell progress, decode who is done. Knows no service; the clock is the caller's.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.draw.preview import Colours
from icg.draw.sampler import Conditions, Run, rows_ahead, rows_of
from icg.errors import BriefError, Cancelled, IcgError, Unsupported
from icg.products.library import Trained
from icg.products.lora import Loras
from icg.scheduler.decoding import Decoder, Decoding
from icg.scheduler.fast import Fast
from icg.scheduler.metrics import Metrics
from icg.scheduler.model import Model, Size
from icg.scheduler.queue import Line, due
from icg.scheduler.request import Request, Share, Status, never, silent
from icg.scheduler.rows import Rows
from icg.scheduler.shared import Trunks
from icg.scheduler.timing import Pace

CPU_ROWS, GPU_ROWS = 16, 64
"""Rows of a tick where the caller does not say: more of them make no step cheaper a row, and each of them slower."""


class StepScheduler:
    """Takes over `pipeline`, which must not change any more; use it from nowhere else until `close`.

    sizes: (width, height) that are served; memory is measured for each. rows: at most so many latents a tick. queue: at most so
    many requests waiting and running. loras: folders by name. products: so many have their weights on the device at most. shared: which
    part of the steps those with a Share share, 0..1. fast: what may be done to the model for speed; None for nothing.
    Raises BriefError or CheckpointError for what the model cannot do.
    """

    def __init__(
        self,
        pipeline: CoverPipeline,
        sizes: Sequence[Size] = ((128, 128),),
        rows: int | None = None,
        queue: int = 256,
        loras: Mapping[str, Path] | None = None,
        products: int = 8,
        shared: float = 0.0,
        fast: Fast | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 <= shared <= 1:
            raise BriefError(f"shared={shared}; allowed: 0..1")
        on_cpu = pipeline.device.type == "cpu"
        rows = rows or (CPU_ROWS if on_cpu else GPU_ROWS)
        # Streams and graphs belong to the current device, which is each thread's own.
        self._current = nullcontext if on_cpu else partial(torch.cuda.device, pipeline.device)
        pipeline.bare()
        self._loras = Loras(pipeline.family, loras or {}, products)
        with self._current(), torch.inference_mode():
            self._conditions = Conditions(pipeline, exact=on_cpu and fast is None)
            self._model = Model(pipeline, self._conditions.nothing, sizes, rows, self._loras, fast)
            self._colours = Colours(pipeline.family, pipeline.device)
            self._decoder = Decoder(pipeline)
        self._pipeline, self._clock = pipeline, clock
        self._weight = {size: self._model.rows[sizes[0]] / fit for size, fit in self._model.rows.items()}
        self._full = self._model.rows[sizes[0]]
        self._trunks = Trunks(pipeline, self._conditions, shared)
        self._pace, self.metrics = Pace(), Metrics()
        self._decoding = deque[tuple[Decoding, list[tuple[Request, Run]]]]()
        self._line, self._closed = Line(queue, self.metrics), False
        self._wake = threading.Condition(self._line.lock)
        self._thread = threading.Thread(target=self._serve, name="step-scheduler", daemon=True)
        self._thread.start()

    def submit(
        self,
        brief: Brief,
        timeout: float = math.inf,
        priority: int = 0,
        lora: str = "",
        share: Share | None = None,
        on_progress: Callable[[int, int], None] = silent,
        on_preview: Callable[[Image.Image], None] | None = None,
        is_cancelled: Callable[[], bool] = never,
    ) -> Future[Image.Image]:
        """The cover of `brief` in `timeout` seconds or never. Callbacks run between steps, on the scheduler's thread, and must not wait.

        `on_preview` is shown the cover while it is noise, a pixel for each cell of its latent, just before `on_progress` of the same step:
        after a half and three quarters of the steps, and once a picture was set in.

        Raises BriefError for what this model cannot draw, Shed when the queue is full, Cancelled when closed; the future raises
        these too, where it shows only later. Cancelling the future, is_cancelled() and a callback that raises end the request within
        one step.
        """
        now = self._clock()
        self._model.check(tuple(brief.size), lora)
        product = self._pipeline.product(brief)
        if product is not None and product.whole:
            raise Unsupported(
                f"product_id={brief.product_id!r} changes all weights ({product.record.method}); allowed where covers share a batch: "
                "products of textual-inversion and dreambooth"
            )
        if product is not None and product.lora:
            if lora:
                raise BriefError(f"lora={lora!r} with product_id={brief.product_id!r}; allowed: one of them")
            lora = product.key
        request = Request(
            brief, now, now + timeout, priority, lora, product, share, on_progress, on_preview, is_cancelled
        )
        try:
            request.digest = self._pipeline.item_key(brief, product)
        except (OSError, SyntaxError) as error:  # PIL opens lazily: the first look at the pixels is here
            raise BriefError(
                f"references holds a picture that cannot be decoded ({error}); allowed: whole pictures"
            ) from error
        request.ahead = rows_ahead(brief)
        request.due = due(now, self._alone(request, 0), request.deadline)
        with self._wake:
            if self._closed:
                raise Cancelled("the scheduler is closed")
            self._line.add(request)
            self._wake.notify()
        return request.future

    def close(self) -> None:
        """Stop within one step and cancel whatever is live."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _serve(self) -> None:
        with self._current():
            self._loop()

    def _loop(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._line.live or self._closed)
                if self._closed:
                    for request in list(self._line.live):
                        self._line.end(request, Status.CANCELLED, Cancelled("the scheduler was closed"))
                    return
            try:
                self._tick()
            except Exception as error:  # noqa: BLE001 - a consumer loop: whoever was in the step hears of it, the next ones are served
                self._decoding.clear()
                for request in list(self._line.live):
                    self._line.end(request, Status.FAILED, error)

    @torch.inference_mode()
    def _tick(self) -> None:
        began = time.perf_counter()
        with self._wake:
            rows = sum(self._rows(r) for r in self._line.live if not r.drawn)
            self._line.settle(self._clock(), self._work, lambda r: self._alone(r, rows))
            waiting = [r for r in self._line.live if not r.drawn]
        running = self._choose(waiting)
        groups: dict[tuple[Size, str, bool], list[Run]] = defaultdict(list)
        for run, requests in running.items():
            groups[run.brief.size, requests[0].lora, run.brief.inpaint].append(run)
        for (size, lora, _), runs in groups.items():
            with self._line.sparing(*(r for run in runs for r in running[run])):
                product = running[runs[0]][0].product
                for run, said in zip(runs, self._denoise(size, lora, product, runs), strict=True):
                    with self._line.sparing(*running[run]):
                        run.advance(said, run.shows and any(r.on_preview is not None for r in running[run]))
        for run in [run for run, requests in running.items() if requests[0].status is not Status.RUNNING]:
            self._trunks.drop(run)
            del running[run]
        stepped = time.perf_counter()
        if running:
            self.metrics.ticks += 1
            self._pace.saw(sum(run.rows * self._weight[run.brief.size] for run in running), stepped - began)
        readings = self._pipeline.readings
        self.metrics.reading_hits, self.metrics.reading_misses = readings.hits, readings.misses
        self.metrics.reading_evictions = readings.evicted
        self._finish([(r, run) for run, requests in running.items() for r in requests if self._told(r, run)])
        self._deliver(wait=not running)
        self.metrics.busy_s += time.perf_counter() - began

    def _choose(self, waiting: list[Request]) -> dict[Run, list[Request]]:
        """Who takes this step: the first in line that fit together. At most one item is read for it, so that nobody waits for two."""
        running: dict[Run, list[Request]] = {}
        used, reads = 0.0, self._pipeline.readings.misses
        for request in waiting:
            if used >= self._full:
                break
            if request.digest not in self._pipeline.readings and self._pipeline.readings.misses > reads:
                continue
            run = self._run(request)
            if run is None:
                continue
            if run not in running:
                rows = run.rows * self._weight[run.brief.size]
                if running and used + rows > self._full:
                    break
                used += rows
            running.setdefault(run, []).append(request)
        return running

    def _run(self, request: Request) -> Run | None:
        """What it runs on now; None when its brief turns out to be one that cannot be drawn."""
        with self._line.sparing(request):
            if request.run is None and self._trunks.steps(request) > 0 and request.share is not None:
                request.run = self._trunks.start(request, request.share)
            elif request.run is None:
                wishes = self._conditions(request.brief, request.digest, request.product)
                request.run = Run(self._pipeline, request.brief, wishes)
            shared = self._trunks.steps(request)
            if request.run.trunk and request.run.done >= shared and request.share is not None:
                request.run = self._trunks.branch(request, request.share, request.run)
                self.metrics.shared += shared
            request.status = Status.RUNNING
        return request.run

    def _denoise(self, size: Size, lora: str, product: Trained | None, runs: list[Run]) -> list[torch.Tensor]:
        """What the denoiser says of each of these runs, all of one size and LoRA, all inpainted or none."""
        self._conditions.tell(runs)
        began = time.perf_counter()
        inputs = [run.inputs() for run in runs]
        kinds = [kind for run in runs for kind in run.kinds]
        x = torch.cat([x for run, (x, _) in zip(runs, inputs, strict=True) for _ in run.kinds])
        t = torch.stack([t for run, (_, t) in zip(runs, inputs, strict=True) for _ in run.kinds]).to(x.device)
        pooled = None if kinds[0].pooled is None else torch.cat([k.pooled for k in kinds if k.pooled is not None])
        hints = [run.hint for run in runs for _ in run.kinds if run.hint is not None]
        rows = Rows(x, t, torch.cat([k.embeds for k in kinds]), pooled, torch.cat(hints) if hints else None)
        answers, calls = self._model.denoise(size, lora, rows, product)
        self.metrics.rows += len(kinds)
        self.metrics.calls += calls
        self.metrics.denoise_s += time.perf_counter() - began
        return list(answers.split([run.rows for run in runs]))

    def _told(self, request: Request, run: Run) -> bool:
        """Tell how far it is; True when only decoding is left."""
        with self._line.sparing(request):
            if run.clean is not None and request.on_preview is not None:
                request.on_preview(run.preview(run.clean, self._colours))
            request.on_progress(run.done, run.total)
            return run.finished
        return False

    def _finish(self, done: list[tuple[Request, Run]]) -> None:
        sizes: dict[Size, list[tuple[Request, Run]]] = defaultdict(list)
        for request, run in done:
            sizes[run.brief.size].append((request, run))
        for size, rest in sizes.items():
            for count in self._model.splits(size, len(rest)):
                part, rest = rest[:count], rest[count:]
                for request, _ in part:
                    request.drawn = True
                self._decoding.append((self._decoder(torch.cat([run.latents for _, run in part])), part))

    def _deliver(self, wait: bool) -> None:
        """Hand out what is decoded; `wait` for the next of it, where nobody takes a step meanwhile."""
        while self._decoding and (wait or self._decoding[0][0].ready):
            (decoding, part), wait = self._decoding.popleft(), False
            for (request, run), picture in zip(part, decoding.pictures(), strict=True):
                if picture is not None:
                    self._line.end(request, Status.DONE, run.finish(picture))
                else:
                    wrong = IcgError("latents are not finite; allowed: a model that gives numbers")
                    self._line.end(request, Status.FAILED, wrong)
            self.metrics.decode_s += decoding.seconds
            self._pace.decoded(len(part) * self._weight[part[0][1].brief.size], decoding.seconds)

    def _rows(self, request: Request) -> float:
        rows = rows_of(request.brief) if request.run is None else request.run.rows
        return rows * self._weight[request.brief.size]

    def _work(self, request: Request) -> float:
        """Seconds of a full batch's time that are left of it."""
        return (request.rows_left * self._pace.row(self._full) + self._pace.decode) * self._weight[request.brief.size]

    def _alone(self, request: Request, rows: float) -> float:
        """Seconds until it is done, if it takes part in every step of a batch of `rows` beside it."""
        weight = self._weight[request.brief.size]
        own = request.rows_left / max(request.left, 1) * weight
        return request.left * self._pace.tick(min(max(rows, own), self._full)) + self._pace.decode * weight
