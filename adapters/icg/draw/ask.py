"""From a request of a service to a brief in the scheduler's queue: the rules are the same in process and behind Triton.

A request is a title, encoded pictures and knobs under the names of Brief's fields. This module alone decides: when a fine-tuned
product takes the place of the references, how a cover is anchored in them, when a design towards a target KPI is computed, what a
cover's file says of its origin, and which status an error gets. Knows no service and no wire.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from PIL import Image

from icg.brief import MAX_REFERENCE_STRENGTH, Brief
from icg.compose.subject import product_of
from icg.errors import BriefError, Cancelled, CheckpointError, Shed, UnknownProduct, Unsupported
from icg.pictures import decode
from icg.settings import DrawingSettings

REFERENCE_STRENGTH = 0.88
"""The default for an item with a picture: 7 of the starter's 8 steps lay out the user's cover, the last blends the picture in."""

DEFAULTS = DrawingSettings()

STATUSES: tuple[tuple[type[Exception], str], ...] = (
    (Cancelled, "CANCELLED"),
    (Shed, "UNAVAILABLE"),
    (UnknownProduct, "NOT_FOUND"),
    (Unsupported, "FAILED_PRECONDITION"),
    (CheckpointError, "FAILED_PRECONDITION"),
    (BriefError, "INVALID_ARGUMENT"),
)


def status_name(error: BaseException) -> str:
    """The name of an error's gRPC status. Only a request refused with UNAVAILABLE may succeed when it is repeated."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), "INTERNAL")


def brief(
    title: str,
    references: Sequence[bytes] = (),
    product: bytes = b"",
    reference_strength: float | None = None,
    inpaint: bool = False,
    settings: DrawingSettings = DEFAULTS,
    **knobs: Any,
) -> Brief:
    """The brief of a request. references, product: encoded pictures. knobs: other fields of a Brief; absent ones are as in `settings`.

    A fine-tuned product (product_id) takes the place of the references, unless `reference_strength` or `inpaint` needs them.
    Raises BriefError naming the field.
    """
    needless = knobs.get("product_id") and reference_strength is None and not inpaint
    pictures = () if needless else tuple(decode(data, f"references[{n}]", "") for n, data in enumerate(references))
    cut_out = decode(product, "product", "RGBA") if product else None
    anchor = anchoring(pictures, reference_strength, cut_out, inpaint)
    around = anchor["product"] is not None or anchor.get("reference_strength", 0) > 0
    return Brief(title, pictures, **anchor, **settings.knobs(around) | knobs)


def anchoring(
    references: Sequence[Image.Image],
    reference_strength: float | None = None,
    product: Image.Image | None = None,
    inpaint: bool = False,
) -> dict[str, Any]:
    """`reference_strength`, `product` and `inpaint` of a Brief with these references, of which the first is the anchor.

    The product is cut out of the first reference, unless it is given; without a clean cut-out the reference fills the cover.
    reference_strength: the caller's value, lowered to the most that a brief allows; 0: references are only read. None: a default.
    inpaint: a scene is painted around the product; BriefError if there is none.
    """
    if product is None and references and (inpaint or reference_strength != 0):
        product = product_of(references[0])
    if inpaint and product is None:
        raise BriefError("inpaint=True without a product; allowed: one, or a first reference with a clean cut-out")
    if inpaint:
        return {"product": product, "inpaint": True}
    if reference_strength is None:
        reference_strength = REFERENCE_STRENGTH if product is not None or references else 0.0
    if MAX_REFERENCE_STRENGTH < reference_strength <= 1:
        reference_strength = MAX_REFERENCE_STRENGTH
    return {"reference_strength": reference_strength, "product": product}


def provenance(model: str, brief: Brief, cover: Image.Image) -> dict[str, Any]:
    """How a cover was drawn, as JSON values for its file. The key `product` exists for a fine-tuned product only; `place`, where the
    item's own picture stands, for covers around a cut-out only."""
    origin = {
        "model": model,
        "adapter": model,
        "seed": brief.seed,
        "steps": brief.steps,
        "brief_digest": brief.digest(),
    }
    place = {"place": list(cover.info["place"])} if "place" in cover.info else {}
    return origin | place | ({"product": brief.product_id} if brief.product_id else {})


class Designs(Protocol):
    """icg.design's Designer, which is above this module."""

    def design(self, brief: Brief, target: str) -> Any: ...

    def apply(self, brief: Brief, design: Any) -> Brief: ...


class Queue(Protocol):
    """icg.scheduler's StepScheduler, which is above this module."""

    def submit(
        self, brief: Brief, *, timeout: float, is_cancelled: Callable[[], bool], **options: Any
    ) -> Future[Image.Image]: ...


class Submitter:
    """Submits briefs to a queue. A design for a new title takes seconds: another thread computes it before the brief is queued, so that
    neither the queue nor the caller waits for it. `designer`: None for a checkpoint without design/."""

    def __init__(self, queue: Queue, designer: Designs | None = None) -> None:
        self._queue, self._designer, self._closed = queue, designer, False
        self._designing = ThreadPoolExecutor(1, "designing")

    def submit(
        self,
        brief: Brief,
        target_kpi: str = "",
        timeout: float = math.inf,
        is_cancelled: Callable[[], bool] = lambda: False,
        **options: Any,
    ) -> Future[tuple[Brief, Image.Image]]:
        """The brief as it was drawn, and its cover, at most `timeout` seconds from now. `options` are those of the queue's `submit`.

        Every error is raised by the future: Unsupported for a target without a designer, and the errors of the queue.
        """
        answer: Future[tuple[Brief, Image.Image]] = Future()
        answer.set_running_or_notify_cancel()  # callers cancel through is_cancelled
        begin = partial(self._begin, answer, brief, target_kpi, time.monotonic() + timeout, is_cancelled, options)
        if target_kpi:
            self._designing.submit(begin)
        else:
            begin()
        return answer

    def close(self) -> None:
        """Compute no more designs and cancel the requests that wait for one. Call it before the queue is closed."""
        self._closed = True
        self._designing.shutdown()

    def _begin(
        self,
        answer: Future[tuple[Brief, Image.Image]],
        brief: Brief,
        target_kpi: str,
        due: float,
        is_cancelled: Callable[[], bool],
        options: dict[str, Any],
    ) -> None:
        try:
            if target_kpi:
                brief = self._designed(brief, target_kpi, lambda: self._closed or is_cancelled())
            timeout = due - time.monotonic()
            cover = self._queue.submit(brief, timeout=timeout, is_cancelled=is_cancelled, **options)
        except Exception as error:  # noqa: BLE001 - the caller of `submit` may be on another thread: only the future can report it
            answer.set_exception(error)
        else:
            cover.add_done_callback(partial(_deliver, answer, brief))

    def _designed(self, brief: Brief, target_kpi: str, is_cancelled: Callable[[], bool]) -> Brief:
        if self._designer is None:
            raise Unsupported(f"target_kpi={target_kpi!r} for a checkpoint without design/; allowed: none")
        if is_cancelled():
            raise Cancelled("cancelled before its design was computed")
        brief = self._designer.apply(brief, self._designer.design(brief, target_kpi))
        if is_cancelled():
            raise Cancelled("cancelled while its design was computed")
        return brief


def _deliver(answer: Future[tuple[Brief, Image.Image]], brief: Brief, cover: Future[Image.Image]) -> None:
    error = cover.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result((brief, cover.result()))
