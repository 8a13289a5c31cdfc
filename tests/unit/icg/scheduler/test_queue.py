"""The queue: order, bound, and shed requests."""

from __future__ import annotations

import math

import pytest
from icg.errors import BriefError, Shed
from icg.scheduler.metrics import SchedulerMetrics
from icg.scheduler.queue import RequestQueue, due
from icg.scheduler.request import Request, Status

from tests.unit.icg.pipelines import brief


def ask(due: float, priority: int = 0, deadline: float = math.inf, steps: int = 4) -> Request:
    return Request(brief(steps=steps), 0.0, deadline, priority, due=min(due, deadline))


def line(limit: int = 10) -> RequestQueue:
    return RequestQueue(limit, SchedulerMetrics())


def test_the_queue_orders_by_priority_then_deadline_then_arrival() -> None:
    queue = line()
    requests = [ask(3), ask(1), ask(9, priority=1), ask(1)]
    for request in requests:
        queue.add(request)
    queue.settle(0.0, lambda r: 0.0, lambda r: 0.0)
    assert queue.live == [requests[2], requests[1], requests[3], requests[0]]


def test_of_equal_deadlines_the_most_remaining_steps_go_first() -> None:
    queue = line()
    requests = [ask(1, steps=4), ask(1, steps=9), ask(0.5, steps=2), ask(1, steps=9)]
    for request in requests:
        queue.add(request)
    queue.settle(0.0, lambda r: 0.0, lambda r: 0.0)
    assert queue.live == [requests[2], requests[1], requests[3], requests[0]]


def test_who_comes_together_is_due_together() -> None:
    dues = {due(100.0 + n / 1000, 0.4 + n / 10_000, math.inf) for n in range(10)}
    assert len(dues) == 1
    assert 101.6 <= dues.pop() <= 101.8
    assert due(100.0, 0.4, math.inf) < due(100.2, 0.4, math.inf)
    assert due(100.0, 0.1, math.inf) < due(100.0, 0.4, math.inf), "short ones overtake"
    assert due(100.0, 0.4, 101.0) == 101.0
    assert due(100.0, 0.0, math.inf) == 100.0, "the time of a step is not known yet"


def test_a_full_queue_sheds_its_last_request() -> None:
    metrics = SchedulerMetrics()
    queue = RequestQueue(2, metrics)
    first, last = ask(1), ask(5)
    queue.add(first)
    queue.add(last)
    with pytest.raises(Shed, match="queue=2 requests; allowed: 2"):
        queue.add(ask(6))
    urgent = ask(9, priority=3)
    queue.add(urgent)
    assert queue.live == [first, urgent]
    assert last.status is Status.FULL
    with pytest.raises(Shed, match="others have precedence"):
        last.future.result(0)
    assert metrics.ended[Status.FULL] == 2
    assert metrics.live == 2


def test_who_cannot_make_it_is_shed_at_once_and_frees_the_rest() -> None:
    queue = line()
    hopeless, crowded, fits, patient = ask(0, deadline=3), ask(0, deadline=5), ask(0, deadline=9), ask(10)
    for request in (hopeless, crowded, fits, patient):
        queue.add(request)
    work = {hopeless: 4.0, crowded: 4.0, fits: 4.5, patient: 100.0}
    queue.settle(0.0, work.__getitem__, lambda r: 4.0 if r is not patient else 100.0)
    assert [hopeless.status, crowded.status, fits.status, patient.status] == [
        Status.LATE,
        Status.WAITING,
        Status.WAITING,
        Status.WAITING,
    ]
    with pytest.raises(Shed, match=r"deadline in 3.000 s; allowed: 4.000 s for 4 more steps"):
        hopeless.future.result(0)
    queue.settle(0.6, work.__getitem__, lambda r: 4.0)
    assert fits.status is Status.LATE
    assert queue.live == [crowded, patient]


def test_a_deadline_is_a_number() -> None:
    with pytest.raises(BriefError, match="deadline is not a number"):
        ask(0, deadline=math.nan)
