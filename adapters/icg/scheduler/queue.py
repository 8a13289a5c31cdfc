"""The bounded queue of requests: which goes first, which is refused, and which can no longer meet its deadline. Knows no model.

Requests of a higher priority go first; among equals the one due first (earliest deadline first, Liu and Layland 1973). A request is due
at its deadline, or when it has taken PATIENCE times as long as it would alone, if that is earlier: short requests overtake long ones,
and none waits for ever. Of requests due at one time the one with most steps left goes first, so that calls stay full to the end.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image

from icg.errors import Cancelled, IcgError, Shed
from icg.scheduler.metrics import SchedulerMetrics
from icg.scheduler.request import Request, Status

PATIENCE = 4.0
TOGETHER = 0.25
"""Fraction of the time that a request takes alone; requests that arrive within it are due at one time."""


def due(now: float, alone: float, deadline: float) -> float:
    """When a request is due that arrives now and takes `alone` seconds alone. Equal for requests that arrive together."""
    if alone <= 0:
        return min(deadline, now)
    # A power of two, since the estimate of `alone` changes a little between two arrivals.
    cell = 2.0 ** math.floor(math.log2(TOGETHER * alone))
    return min(deadline, math.ceil((now + PATIENCE * alone) / cell) * cell)


class RequestQueue:
    """All live requests, waiting and running, in order; at most `limit`. Hold `lock` to change them or to see them unchanged."""

    def __init__(self, limit: int, metrics: SchedulerMetrics) -> None:
        self.limit, self._metrics = limit, metrics
        self.lock = threading.RLock()
        self.live: list[Request] = []

    def add(self, request: Request) -> None:
        """Add a request. If the queue is full, the last waiting one is shed; raises Shed if that is this request."""
        if len(self.live) >= self.limit:
            last = max((r for r in self.live if r.sampler is None), key=lambda r: r.order, default=request)
            if last.order <= request.order:
                self._metrics.ended[Status.FULL] += 1
                raise Shed(f"queue={len(self.live)} requests; allowed: {self.limit}, and all have precedence")
            self.end(
                last,
                Status.FULL,
                Shed(f"queue={self.limit} requests; allowed: {self.limit}, and others have precedence"),
            )
        self.live.append(request)
        self._metrics.live = len(self.live)

    def end(self, request: Request, status: Status, outcome: Image.Image | Exception) -> None:
        """Remove it with its final status; no effect if it is removed already."""
        with self.lock:
            if request in self.live:
                self.live.remove(request)
                self._metrics.live = len(self.live)
                request.end(status, outcome, self._metrics.ended)

    @contextmanager
    def isolated(self, *requests: Request) -> Iterator[None]:
        """An error raised in this block, by the model or a callback, ends these requests alone; the batch goes on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - one request must not end a batch
            for request in requests:
                self.end(request, Status.REFUSED if isinstance(error, IcgError) else Status.FAILED, error)

    def settle(self, now: float, work: Callable[[Request], float], alone: Callable[[Request], float]) -> None:
        """Sort; end requests that are cancelled and those that cannot meet their deadline.

        work(r): seconds of a full batch's time that r still needs; alone(r): seconds until r is done if it takes part in every step.
        """
        for request in list(self.live):
            with self.isolated(request):
                if request.cancelled():
                    self.end(request, Status.CANCELLED, Cancelled(f"cancelled with {request.left} steps to go"))
        self.live.sort(key=lambda r: r.order)
        before = 0.0
        for request in list(self.live):
            ahead = before + work(request)
            if not math.isinf(request.deadline):
                # A running request is dropped only if it cannot be in time even alone: its steps are paid for.
                least = alone(request) if request.sampler is not None else max(alone(request), ahead)
                if now + least > request.deadline:
                    text = f"deadline in {request.deadline - now:.3f} s; allowed: {least:.3f} s for {request.left} more steps"
                    self.end(request, Status.LATE, Shed(text))
                    continue
            before = ahead
