"""One request: a brief, how it wants to be served, and where it stands. Knows no queue and no model."""

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
    from icg.products.library import Trained

_numbers = itertools.count()


class Status(Enum):
    """Where a request stands; all but the first two are final."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    LATE = "late"
    """Shed: it could not have finished before its deadline."""
    FULL = "full"
    """Shed: the queue was full of requests that go first."""
    REFUSED = "refused"
    """Its brief cannot be drawn by this model."""
    FAILED = "failed"
    """Something broke while it was served, its own callbacks included."""


@dataclass(frozen=True, eq=False)
class Share:
    """Share the early steps with others of the same item, size, steps, guidance and LoRA who name the same share.

    `seed`: whose noise they all start from, in place of their own. `user`: (U,) for whom the shared steps are drawn, a taste they
    have in common; None for nobody. Raises BriefError for what is neither.
    """

    seed: int
    user: np.ndarray | None = None

    def __post_init__(self) -> None:
        Brief("x", seed=self.seed, user_embedding=self.user)


def never() -> bool:
    """Nobody withdraws the request."""
    return False


def silent(step: int, total: int) -> None:
    """Nobody watches the request."""


@dataclass(eq=False)
class Request:
    """`deadline`: seconds on the scheduler's clock, infinity for none. `priority`: higher goes first. `lora`: "" for none, the key of
    `product` where that has low-rank weights. `product`: what the brief's product_id meant when it came.

    `on_preview` None: nobody looks, and nothing is computed for it. `ahead`: sampler.rows_ahead of the brief.
    `drawn`: only its picture is still on the way.
    `due` orders requests of one priority: the deadline, or what fairness sets before it. `future` gives the cover or raises.
    """

    brief: Brief
    arrived: float
    deadline: float = math.inf
    priority: int = 0
    lora: str = ""
    product: Trained | None = None
    share: Share | None = None
    on_progress: Callable[[int, int], None] = silent
    on_preview: Callable[[Image.Image], None] | None = None
    is_cancelled: Callable[[], bool] = never
    due: float = math.inf
    status: Status = Status.WAITING
    run: Sampler | None = None
    drawn: bool = False
    digest: str = ""
    ahead: Sequence[int] = ()
    future: Future[Image.Image] = field(default_factory=Future)
    number: int = field(default_factory=lambda: next(_numbers))

    def __post_init__(self) -> None:
        if math.isnan(self.deadline):
            raise BriefError("deadline is not a number; allowed: seconds, or infinity for none")

    @property
    def order(self) -> tuple[int, float, int, int]:
        """Smallest goes first."""
        return -self.priority, self.due, -self.left, self.number

    @property
    def left(self) -> int:
        """Denoising steps still to take."""
        return self.brief.steps if self.run is None else self.run.total - self.run.done

    @property
    def rows_left(self) -> int:
        """Rows of all steps still to take."""
        return self.ahead[max(self.brief.steps - self.left, 0)]

    def withdrawn(self) -> bool:
        """Whether its caller wants it no more."""
        return self.future.cancelled() or self.is_cancelled()

    def end(self, status: Status, outcome: Image.Image | Exception, ended: Counter[Status]) -> None:
        """Its last status, counted, and what the future gives or raises. A caller who has cancelled the future hears nothing."""
        self.run = None
        cancelled = not self.future.set_running_or_notify_cancel()
        self.status = Status.CANCELLED if cancelled else status
        ended[self.status] += 1
        if not cancelled and isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        elif not cancelled:
            self.future.set_result(outcome)
