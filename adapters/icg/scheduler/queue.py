"""Who goes first, who must wait outside, and who cannot make it any more. A bounded line; knows no model.

Requests of a higher priority go first, among them the one due first (earliest deadline first, Liu and Layland 1973). A request is
due at its deadline, or sooner when it would have taken PATIENCE times as long as alone: short ones overtake long ones, and nobody waits
for ever. Of those due together the one with the most left goes first: who came together walks together, and calls stay full to the end.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image

from icg.errors import Cancelled, IcgError, Shed
from icg.scheduler.metrics import Metrics
from icg.scheduler.request import Request, Status

PATIENCE = 4.0
TOGETHER = 0.25
"""Of the time one takes alone: who comes within it comes together."""


def due(now: float, alone: float, deadline: float) -> float:
    """When a request that comes now and takes `alone` seconds alone is due. Equal for those that come together."""
    if alone <= 0:
        return min(deadline, now)
    cell = 2.0 ** math.floor(
        math.log2(TOGETHER * alone)
    )  # what is known of the pace changes a little between two of them
    return min(deadline, math.ceil((now + PATIENCE * alone) / cell) * cell)


class Line:
    """All live requests, waiting and running, in order; at most `limit`.

    Who changes it, or must not see it change, holds `lock`.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self.limit, self._metrics = limit, metrics
        self.lock = threading.RLock()
        self.live: list[Request] = []

    def add(self, request: Request) -> None:
        """Take it in, shedding the last of those waiting when the line is full; Shed when that is the newcomer itself."""
        if len(self.live) >= self.limit:
            last = max((r for r in self.live if r.run is None), key=lambda r: r.order, default=request)
            if last.order <= request.order:
                self._metrics.ended[Status.FULL] += 1
                raise Shed(f"queue={len(self.live)} requests; allowed: {self.limit}, and all go before this one")
            self.end(
                last, Status.FULL, Shed(f"queue={self.limit} requests; allowed: {self.limit}, and others go first")
            )
        self.live.append(request)
        self._metrics.live = len(self.live)

    def end(self, request: Request, status: Status, outcome: Image.Image | Exception) -> None:
        """Out of the line, with its last status; nothing where it is out already."""
        with self.lock:
            if request in self.live:
                self.live.remove(request)
                self._metrics.live = len(self.live)
                request.end(status, outcome, self._metrics.ended)

    @contextmanager
    def sparing(self, *requests: Request) -> Iterator[None]:
        """Whatever goes wrong in here, in the model or in a caller's own code, ends these alone; the batch goes on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - as it says
            for request in requests:
                self.end(request, Status.REFUSED if isinstance(error, IcgError) else Status.FAILED, error)

    def settle(self, now: float, work: Callable[[Request], float], alone: Callable[[Request], float]) -> None:
        """Sort; end what is withdrawn and what cannot finish in time.

        work(r): seconds of a full batch's time that r still takes; alone(r): seconds until it is done if it is in every step.
        """
        for request in list(self.live):
            with self.sparing(request):
                if request.withdrawn():
                    self.end(request, Status.CANCELLED, Cancelled(f"withdrawn with {request.left} steps to go"))
        self.live.sort(key=lambda r: r.order)
        before = 0.0
        for request in list(self.live):
            ahead = before + work(request)
            if not math.isinf(request.deadline):
                # What has begun is dropped only when all hope is gone: its steps are paid for.
                least = alone(request) if request.run is not None else max(alone(request), ahead)
                if now + least > request.deadline:
                    text = f"deadline in {request.deadline - now:.3f} s; allowed: {least:.3f} s for {request.left} more steps"
                    self.end(request, Status.LATE, Shed(text))
                    continue
            before = ahead
