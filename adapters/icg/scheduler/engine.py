"""The scheduler's loop: one thread takes one denoising step of the running batch per tick; requests join and leave between ticks.

A tick ends requests that were cancelled or cannot meet their deadline, picks the first requests in the queue that fit into memory,
calls the denoiser on all their rows (in as few calls as stay bit-exact), reports progress, and decodes finished covers, which another
thread composes with the items' own pictures. Knows no service; the caller provides the clock.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from icg.brief import Brief
from icg.draw.conditions import Conditioner
from icg.draw.pipeline import CoverPipeline
from icg.draw.preview import Colours
from icg.draw.sampler import Sampler, rows_ahead, stack
from icg.errors import BriefError, Cancelled, IcgError, Unsupported
from icg.models.families import NOT_FINITE
from icg.products.library import TrainedProduct
from icg.products.lora import Loras
from icg.scheduler.decoding import Decoder, Decoding
from icg.scheduler.fast import Fast
from icg.scheduler.metrics import SchedulerMetrics
from icg.scheduler.model import Model, Size
from icg.scheduler.queue import RequestQueue, due
from icg.scheduler.request import Request, Share, Status, ignore_progress, never
from icg.scheduler.shared import Trunks
from icg.scheduler.timing import StepTiming

CPU_ROWS, GPU_ROWS = 16, 64
"""Default rows per tick: with more, a row costs the same and every step takes longer."""


class StepScheduler:
    """Owns `pipeline`, which must not change any more and must not be used elsewhere until `close`.

    sizes: (width, height) that can be requested; memory is measured for each and for its grounds. rows: latents per tick at most.
    queue: requests waiting and running at most. loras: folders by name. products: how many products have their weights on the device
    at most. shared: the fraction of the steps, 0..1, that requests with a Share have in common. fast: changes to the model for speed; None
    for none. Raises BriefError or CheckpointError for what the model cannot do.
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
        self._sizes = tuple(map(tuple, sizes))
        grounds = [pipeline.ground_size(size) for size in sizes]
        factor = pipeline.drawer(True).adapter.config.draft_factor
        drafts = [(width // factor, height // factor) for width, height in grounds]
        sizes = tuple(dict.fromkeys([*sizes, *grounds, *drafts]))
        pipeline.bare()
        self._loras = Loras(pipeline.family, loras or {}, products)
        with self._current(), torch.inference_mode():
            exact = on_cpu and fast is None
            self._condition = {alone: Conditioner(p.adapter, exact) for alone, p in pipeline.drawers.items()}
            self._model = Model(pipeline, self._condition[""].nothing, sizes, rows, self._loras, fast)
            self._colours = Colours(pipeline.family, pipeline.device)
            self._decoder = Decoder(pipeline)
        self._pipeline, self._clock = pipeline, clock
        self._weight = {size: self._model.rows[sizes[0]] / fit for size, fit in self._model.rows.items()}
        self._full = self._model.rows[sizes[0]]
        self._trunks = Trunks(pipeline, shared)
        self._timing, self.metrics = StepTiming(), SchedulerMetrics()
        self._decoding = deque[tuple[Decoding, list[tuple[Request, Sampler]]]]()
        self._composing = deque[tuple[Request, Future[Image.Image]]]()
        self._composer = ThreadPoolExecutor(1, "composing")
        self._queue, self._closed = RequestQueue(queue, self.metrics), False
        self._wake = threading.Condition(self._queue.lock)
        self._thread = threading.Thread(target=self._serve, name="step-scheduler", daemon=True)
        self._thread.start()

    def submit(
        self,
        brief: Brief,
        timeout: float = math.inf,
        priority: int = 0,
        lora: str = "",
        share: Share | None = None,
        on_progress: Callable[[int, int], None] = ignore_progress,
        on_preview: Callable[[Image.Image], None] | None = None,
        is_cancelled: Callable[[], bool] = never,
    ) -> Future[Image.Image]:
        """The cover of `brief`, within `timeout` seconds. Callbacks run between steps, on the scheduler's thread, and must not block.

        `on_preview` gets a small picture of the unfinished cover, one pixel per cell of the latent, just before `on_progress` of
        the same step: after half and three quarters of the steps, and after a picture was set in.

        Raises BriefError for what this model cannot draw, Shed if the queue is full, Cancelled if the scheduler is closed; the
        future raises the same errors if they are found later. A cancelled future, a true `is_cancelled()` and a callback that
        raises end the request within one step.
        """
        now = self._clock()
        if not brief.ground and tuple(brief.size) not in self._sizes:
            raise BriefError(f"size={brief.size}; allowed: {', '.join(map(str, self._sizes))}")
        brief = self._pipeline.prepared(brief)
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
            for picture in brief.references:
                picture.load()
            request.digest = self._pipeline.item_key(brief, product)
        except (OSError, SyntaxError) as error:  # PIL decodes lazily: the pixels are needed here first
            raise BriefError(
                f"references holds a picture that cannot be decoded ({error}); allowed: whole pictures"
            ) from error
        request.ahead = rows_ahead(brief, self._pipeline.draft_factor(brief))
        request.due = due(now, self._alone(request, 0), request.deadline)
        with self._wake:
            if self._closed:
                raise Cancelled("the scheduler is closed")
            self._queue.add(request)
            self._wake.notify()
        return request.future

    def close(self) -> None:
        """Stop within one step and cancel whatever is live."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()
        self._composer.shutdown(cancel_futures=True)

    def _serve(self) -> None:
        with self._current():
            self._loop()

    def _loop(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._queue.live or self._closed)
                if self._closed:
                    for request in list(self._queue.live):
                        self._queue.end(request, Status.CANCELLED, Cancelled("the scheduler was closed"))
                    return
            try:
                self._tick()
            except Exception as error:  # noqa: BLE001 - a consumer loop: the requests of this step fail, later ones are served
                self._decoding.clear()
                self._composing.clear()
                for request in list(self._queue.live):
                    self._queue.end(request, Status.FAILED, error)

    @torch.inference_mode()
    def _tick(self) -> None:
        began = time.perf_counter()
        with self._wake:
            rows = sum(self._rows(r) for r in self._queue.live if not r.decoding)
            self._queue.settle(self._clock(), self._work, lambda r: self._alone(r, rows))
            waiting = [r for r in self._queue.live if not r.decoding]
        running = self._choose(waiting)
        groups: dict[tuple[Size, str, bool, str], list[Sampler]] = defaultdict(list)
        for sampler, requests in running.items():
            apart = self._pipeline.drawn_by(sampler.brief)
            groups[sampler.size, requests[0].lora, sampler.hint is not None, apart].append(sampler)
        for (size, lora, *_), samplers in groups.items():
            with self._queue.isolated(*(r for sampler in samplers for r in running[sampler])):
                self._step(size, lora, samplers, running)
        for sampler in [s for s, requests in running.items() if requests[0].status is not Status.RUNNING]:
            self._trunks.drop(sampler)
            del running[sampler]
        if running:
            self.metrics.ticks += 1
            rows = sum(sampler.rows * self._weight[sampler.size] for sampler in running)
            self._timing.record_step(rows, time.perf_counter() - began)
        readings = self._pipeline.readings
        self.metrics.reading_hits, self.metrics.reading_misses = readings.hits, readings.misses
        self.metrics.reading_evictions = readings.evicted
        pairs = [(request, sampler) for sampler, requests in running.items() for request in requests]
        self._decode([pair for pair in pairs if self._report(*pair)])
        self._deliver(wait=not running)
        self.metrics.busy_s += time.perf_counter() - began

    def _step(
        self, size: Size, lora: str, samplers: list[Sampler], running: Mapping[Sampler, Sequence[Request]]
    ) -> None:
        product = running[samplers[0]][0].product
        for sampler, predictions in zip(samplers, self._denoise(size, lora, product, samplers), strict=True):
            requests = running[sampler]
            with self._queue.isolated(*requests):
                previewed = sampler.shows and any(r.on_preview is not None for r in requests)
                sampler.advance(predictions, keep_clean=previewed)

    def _choose(self, waiting: list[Request]) -> dict[Sampler, list[Request]]:
        """The samplers of this tick: the first requests in the queue that fit together.

        The VLM reads at most one new item per tick, so that no request waits for two.
        """
        running: dict[Sampler, list[Request]] = {}
        used, reads = 0.0, self._pipeline.readings.misses
        for request in waiting:
            if used >= self._full:
                break
            if request.digest not in self._pipeline.readings and self._pipeline.readings.misses > reads:
                continue
            sampler = self._sampler(request)
            if sampler is None:
                continue
            if sampler not in running:
                rows = sampler.rows * self._weight[sampler.size]
                if running and used + rows > self._full:
                    break
                used += rows
            running.setdefault(sampler, []).append(request)
        return running

    def _sampler(self, request: Request) -> Sampler | None:
        """The sampler of its next step; None if its brief cannot be drawn, and the request has failed."""
        with self._queue.isolated(request):
            if request.sampler is None and self._trunks.steps(request) > 0 and request.share is not None:
                request.sampler = self._trunks.start(request, request.share)
            elif request.sampler is None:
                request.sampler = self._pipeline.sampler(request.brief, request.product, request.digest)
            shared = self._trunks.steps(request)
            if request.sampler.trunk and request.sampler.done >= shared and request.share is not None:
                request.sampler = self._trunks.branch(request, request.share, request.sampler)
                self.metrics.shared += shared
            request.status = Status.RUNNING
        return request.sampler

    def _denoise(
        self, size: Size, lora: str, product: TrainedProduct | None, samplers: list[Sampler]
    ) -> list[torch.Tensor]:
        """Predictions for each of these samplers, which have one size, LoRA and denoiser, and all or none a hint."""
        apart = self._pipeline.drawn_by(samplers[0].brief)
        self._condition[apart](samplers)
        began = time.perf_counter()
        rows = stack(samplers)
        predictions, calls = self._model.denoise(size, lora, rows, product, apart)
        self.metrics.rows += len(rows.x)
        self.metrics.calls += calls
        self.metrics.denoise_s += time.perf_counter() - began
        return list(predictions.split([sampler.rows for sampler in samplers]))

    def _report(self, request: Request, sampler: Sampler) -> bool:
        """Call its callbacks; True if only decoding is left."""
        with self._queue.isolated(request):
            if sampler.clean is not None and request.on_preview is not None:
                request.on_preview(sampler.preview(sampler.clean, self._colours))
            request.on_progress(sampler.done, sampler.total)
            return sampler.finished
        return False

    def _decode(self, finished: list[tuple[Request, Sampler]]) -> None:
        sizes: dict[Size, list[tuple[Request, Sampler]]] = defaultdict(list)
        for request, sampler in finished:
            sizes[sampler.brief.size].append((request, sampler))
        for size, rest in sizes.items():
            for count in self._model.splits(size, len(rest)):
                part, rest = rest[:count], rest[count:]
                for request, _ in part:
                    request.decoding = True
                latents = torch.cat([sampler.latents for _, sampler in part])
                self._decoding.append((self._decoder(latents), part))

    def _deliver(self, wait: bool) -> None:
        """Have decoded covers composed by another thread, and hand out the composed ones. `wait` for the next one: no step is taken
        meanwhile."""
        while self._decoding and ((wait and not self._composing) or self._decoding[0][0].ready):
            decoding, part = self._decoding.popleft()
            for (request, sampler), image in zip(part, decoding.pictures(), strict=True):
                if image is not None:
                    self._composing.append((request, self._composer.submit(sampler.finish, image)))
                else:
                    error = IcgError(NOT_FINITE)
                    self._queue.end(request, Status.FAILED, error)
            self.metrics.decode_s += decoding.seconds
            self._timing.record_decoding(len(part) * self._weight[part[0][1].brief.size], decoding.seconds)
        while self._composing and (wait or self._composing[0][1].done()):
            (request, composed), wait = self._composing.popleft(), False
            with self._queue.isolated(request):
                self._queue.end(request, Status.DONE, composed.result())

    def _rows(self, request: Request) -> float:
        if (sampler := request.sampler) is not None:
            return sampler.rows * self._weight[sampler.size]
        return (request.ahead[0] - request.ahead[1]) * self._weight[request.brief.size]

    def _work(self, request: Request) -> float:
        """Seconds of a full batch's time that its remaining steps need."""
        seconds = request.rows_left * self._timing.row(self._full) + self._timing.decode
        return seconds * self._weight[request.brief.size]

    def _alone(self, request: Request, rows: float) -> float:
        """Seconds until it is done if it takes part in every step, beside a batch of `rows`."""
        weight = self._weight[request.brief.size]
        rows_alone = request.rows_left / max(request.left, 1) * weight
        return request.left * self._timing.tick(min(max(rows, rows_alone), self._full)) + self._timing.decode * weight
