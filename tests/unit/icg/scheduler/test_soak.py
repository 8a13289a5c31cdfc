"""Ten thousand requests, many of them cancelled, late or abandoned: nothing leaks, no request gets another's cover."""

from __future__ import annotations

import ctypes
import gc
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import pytest
from icg.errors import Shed
from icg.scheduler.engine import StepScheduler
from icg.scheduler.request import Request, Share, Status

from tests.unit.icg.pipelines import brief, pixels

REQUESTS, SETTLED, SLOTS = 10_000, 2_000, 60
GROWTH_MB = 32


def resident_mb() -> float:
    """What is in use: garbage and pages that the allocator only keeps for later are given back first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def fails_at(last: int) -> Callable[[int, int], None]:
    def on_progress(step: int, total: int) -> None:
        if step >= last:
            raise ConnectionError("gone")

    return on_progress


def options(chance: random.Random, fate: float) -> dict:
    """Of a request: some fail in their callback, some are cancelled, some have little time."""
    result: dict = {"priority": chance.randrange(3)}
    if fate < 0.1:
        result["on_progress"] = fails_at(chance.randrange(1, 4))
    elif fate < 0.2:
        left = iter(range(chance.randrange(1, 6)))
        result["is_cancelled"] = lambda: next(left, None) is None
    elif fate < 0.4:
        result["timeout"] = chance.uniform(0.0, 0.2)
    return result


@pytest.mark.slow
def test_ten_thousand_requests_leave_nothing_behind(opened: Callable[..., StepScheduler]) -> None:
    scheduler, chance = opened("sd21", queue=64, shared=0.5), random.Random(0)
    kinds = [brief(n, title=f"item {n % 20}", steps=1 + n % 6, guidance=[1.0, 4.0][n % 2]) for n in range(40)]
    shares = [Share(5) if n % 4 == 0 else None for n in range(40)]
    want = [pixels(scheduler.submit(b, share=s)) for b, s in zip(kinds, shares, strict=True)]
    before = sum(scheduler.metrics.ended.values())
    slots, wrong, outcomes = threading.BoundedSemaphore(SLOTS), [], Counter[str]()
    threads, resident, lock = threading.active_count(), 0.0, threading.Lock()

    def ended(future: Future, kind: int) -> None:
        slots.release()
        with lock:
            if future.cancelled():
                outcomes["CancelledError"] += 1
            elif (error := future.exception()) is not None:
                outcomes[type(error).__name__] += 1
            else:
                outcomes["made"] += 1
                if not np.array_equal(np.asarray(future.result()), want[kind]):
                    wrong.append(kind)

    for n in range(REQUESTS):
        if n == SETTLED:
            resident = resident_mb()
        slots.acquire()
        kind, fate = chance.randrange(40), chance.random()
        try:
            future = scheduler.submit(kinds[kind], share=shares[kind], **options(chance, fate))
        except Shed:
            slots.release()
            outcomes["refused"] += 1
            continue
        future.add_done_callback(lambda future, kind=kind: ended(future, kind))
        if 0.4 <= fate < 0.5:
            future.cancel()
    for _ in range(SLOTS):  # until all have ended
        slots.acquire()
    last = scheduler.submit(kinds[0], share=shares[0], priority=-1)
    assert np.array_equal(pixels(last), want[0])
    grown = resident_mb() - resident
    print(dict(outcomes), f"grown {grown:.1f} MB", scheduler.metrics)
    assert wrong == []
    assert sum(outcomes.values()) == REQUESTS
    assert {"made", "Shed", "Cancelled", "CancelledError", "ConnectionError"} <= set(outcomes)
    assert sum(scheduler.metrics.ended.values()) - before == REQUESTS + 1
    assert scheduler.metrics.live == 0
    assert threading.active_count() == threads
    assert grown < GROWTH_MB
    assert sum(type(thing) is Request for thing in gc.get_objects()) <= 2
    assert scheduler.metrics.ended[Status.REFUSED] == 0
