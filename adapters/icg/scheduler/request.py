"""One request: a brief, how it is to be served, and its state. Knows no queue and no model."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from icg.brief import Brief
from icg.errors import BriefError

if TYPE_CHECKING:
    from icg.draw.sampler import Sampler
    from icg.products.library import TrainedProduct

_numbers = itertools.count()


class Status(Enum):
    """The state of a request; all but the first two are final."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    LATE = "late"
    """Shed: it could not have met its deadline."""
    FULL = "full"
    """Shed: the queue was full of requests with precedence."""
    REFUSED = "refused"
    """This model cannot draw its brief."""
    FAILED = "failed"
    """The model or one of its own callbacks raised an error."""


@dataclass(frozen=True, eq=False)
class Share:
    """Shares the early steps with requests of the same item, size, steps, guidance and LoRA that name an equal share.

    seed: replaces their own, so that all start from one noise. user: (U,), the taste that the shared steps are sampled for; None
    for no user. Raises BriefError for an invalid seed or user.
    """

    seed: int
    user: np.ndarray | None = None

    def __post_init__(self) -> None:
        Brief("x", seed=self.seed, user_embedding=self.user)


def never() -> bool:
    """The default `is_cancelled`."""
    return False


def ignore_progress(step: int, total: int) -> None:
    """The default `on_progress`."""


@dataclass(eq=False)
class Request:
    """deadline: seconds on the scheduler's clock, infinity for none. priority: higher goes first. lora: "" for none; the key of
    `product` if that has low-rank weights. product: what the brief's product_id named when the request arrived.

    on_preview None: no preview is computed. ahead: `icg.draw.sampler.rows_ahead` of the brief. decoding: all steps are taken.
    due: orders requests of one priority; the deadline, or an earlier time set for fairness. future: gives the cover or raises.
    """

    brief: Brief
    arrived: float
    deadline: float = math.inf
    priority: int = 0
    lora: str = ""
    product: TrainedProduct | None = None
    share: Share | None = None
    on_progress: Callable[[int, int], None] = ignore_progress
    on_preview: Callable[[Image.Image], None] | None = None
    is_cancelled: Callable[[], bool] = never
    due: float = math.inf
    status: Status = Status.WAITING
    sampler: Sampler | None = None
    decoding: bool = False
    digest: str = ""
    ahead: Sequence[float] = ()
    future: Future[Image.Image] = field(default_factory=Future)
    number: int = field(default_factory=lambda: next(_numbers))

    def __post_init__(self) -> None:
        if math.isnan(self.deadline):
            raise BriefError("deadline is not a number; allowed: seconds, or infinity for none")

    @property
    def order(self) -> tuple[int, float, int, int]:
        """The smallest goes first."""
        return -self.priority, self.due, -self.left, self.number

    @property
    def left(self) -> int:
        """Denoising steps still to take."""
        return self.brief.steps if self.sampler is None else self.sampler.total - self.sampler.done

    @property
    def rows_left(self) -> float:
        """Rows of all steps still to take."""
        return self.ahead[max(self.brief.steps - self.left, 0)]

    def cancelled(self) -> bool:
        """Whether its caller has cancelled it."""
        return self.future.cancelled() or self.is_cancelled()

    def end(self, status: Status, outcome: Image.Image | Exception, ended: Counter[Status]) -> None:
        """Set and count its final status, and resolve the future unless the caller has cancelled it."""
        self.sampler = None
        cancelled = not self.future.set_running_or_notify_cancel()
        self.status = Status.CANCELLED if cancelled else status
        ended[self.status] += 1
        if not cancelled and isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        elif not cancelled:
            self.future.set_result(outcome)
