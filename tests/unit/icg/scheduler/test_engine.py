"""The scheduler on real models: who shares a batch changes nothing, and nobody waits for, pays for or breaks with another."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from icg import starter
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.errors import BriefError, Cancelled, Shed
from icg.scheduler.engine import StepScheduler
from icg.scheduler.request import Status
from PIL import Image

from tests.unit.icg import tiny
from tests.unit.icg.pipelines import PICTURE, PRODUCT, SIZE, WIDE, Gate, brief, pixels, user

Open = Callable[..., StepScheduler]
COMPANIONS = st.lists(
    st.builds(
        brief,
        seed=st.integers(0, 5),
        title=st.sampled_from(["red kettle", "green lamp"]),
        steps=st.integers(1, 6),
        guidance=st.sampled_from([0.0, 1.0, 4.0]),
        user_guidance=st.sampled_from([None, 0.0, 2.0]),
        guided=st.sampled_from([(0.0, 1.0), (0.2, 0.6), (0.5, 0.5)]),
        references=st.just((PICTURE,)),
        reference_strength=st.sampled_from([0.0, 0.5, 0.9]),
        product=st.sampled_from([None, PRODUCT]),
        size=st.sampled_from([SIZE, WIDE]),
    ),
    max_size=6,
)
MINE = [
    brief(1),
    brief(2, guidance=1.0, steps=3),
    brief(3, user_guidance=2.0, steps=6),
    brief(4, references=(PICTURE,), reference_strength=0.6, steps=5),
    brief(5, user_embedding=None, size=WIDE),
    brief(6, guidance=0.0, references=(PICTURE,), reference_strength=0.6),
    brief(7, product=PRODUCT, reference_strength=0.5),
    brief(8, product=PRODUCT, steps=3),
    brief(9, steps=6, guided=(0.125, 0.375)),
    brief(10, user_guidance=2.0, guided=(0.5, 1.0), references=(PICTURE,), reference_strength=0.6),
]


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_a_cover_is_as_the_pipeline_draws_it(covers: Callable[[str], CoverPipeline], opened: Open, name: str) -> None:
    scheduler = opened(name)
    pipeline = covers(name)
    for mine, future in [(b, scheduler.submit(b)) for b in MINE]:
        want = np.asarray(pipeline([mine])[0], int)
        assert np.abs(pixels(future).astype(int) - want).max() <= 1


def test_the_same_seed_is_the_same_image_whatever_shares_the_batch(opened: Open) -> None:
    schedulers = {name: opened(name) for name in ("sana", "sd15", "sd3")}
    alone = {name: [pixels(s.submit(b)) for b in MINE] for name, s in schedulers.items()}

    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(schedulers)), COMPANIONS, st.randoms())
    def holds(name: str, companions: list[Brief], random: Any) -> None:
        requests: list[tuple[Brief, int | None]] = [(b, n) for n, b in enumerate(MINE)] + [
            (b, None) for b in companions
        ]
        random.shuffle(requests)
        futures = [(schedulers[name].submit(b, priority=random.randrange(2)), n) for b, n in requests]
        for future, n in futures:
            image = pixels(future)
            if n is not None:
                assert np.array_equal(image, alone[name][n])

    holds()


def test_the_shipped_starter_draws_the_same_image_in_company() -> None:
    """It uses the kernels of real widths."""
    pipeline = starter.load().pipeline
    scheduler = StepScheduler(pipeline, sizes=((64, 64),))
    mine = brief(1, steps=3)
    alone = pixels(scheduler.submit(mine))
    for company in (1, 4, 9):
        futures = [scheduler.submit(brief(10 + n, steps=1 + n % 5)) for n in range(company)]
        assert np.array_equal(pixels(scheduler.submit(mine)), alone)
        assert not np.array_equal(pixels(futures[0]), alone)
    scheduler.close()


def test_requests_join_and_leave_between_steps(opened: Open) -> None:
    scheduler, progress = opened(), []
    gate = Gate(at=2)

    def watch(name: str) -> Callable[[int, int], None]:
        return lambda step, total: progress.append((name, step, total))

    def long(step: int, total: int) -> None:
        progress.append(("long", step, total))
        gate(step, total)

    first = scheduler.submit(brief(1, steps=7), on_progress=long)
    assert gate.reached.wait(60)
    second = scheduler.submit(brief(2, steps=2), on_progress=watch("short"))
    order: list[str] = []
    second.add_done_callback(lambda _: order.append("short"))
    first.add_done_callback(lambda _: order.append("long"))
    gate.open.set()
    pixels(first)
    assert order == ["short", "long"]
    assert [(step, total) for name, step, total in progress if name == "long"] == [(n, 7) for n in range(1, 8)]
    assert [(step, total) for name, step, total in progress if name == "short"] == [(1, 2), (2, 2)]
    assert progress.index(("short", 1, 2)) > progress.index(("long", 2, 7))
    assert progress.index(("short", 2, 2)) < progress.index(("long", 5, 7))
    assert scheduler.metrics.ticks == 7


def test_rows_without_weight_are_not_computed(opened: Open) -> None:
    scheduler = opened()

    def rows(request: Brief) -> int:
        before = scheduler.metrics.rows
        pixels(scheduler.submit(request))
        return scheduler.metrics.rows - before

    assert rows(brief()) == 2 * 4
    assert rows(brief(guidance=1.0)) == 4
    assert rows(brief(guidance=0.0)) == 4
    assert rows(brief(user_guidance=2.0)) == 3 * 4
    assert rows(brief(user_guidance=4.0)) == 2 * 4
    assert rows(brief(steps=8, guided=(0.125, 0.375))) == 8 + 2
    assert rows(brief(guided=(0.5, 0.5))) == 4
    # Guided up to the step that sets the picture in, that one included.
    assert rows(brief(product=PRODUCT, reference_strength=0.5)) == 2 * 3 + 1


def test_more_rows_than_fit_wait_their_turn_and_come_out_the_same(opened: Open) -> None:
    wide, narrow = opened(rows=16), opened(rows=2)
    futures = [[s.submit(b) for b in MINE] for s in (wide, narrow)]
    for a, b in zip(*futures, strict=True):
        assert np.array_equal(pixels(a), pixels(b))
    assert narrow.metrics.ticks > wide.metrics.ticks


def test_priority_overtakes_and_is_served_first(opened: Open) -> None:
    scheduler, order, gate = opened(rows=2), [], Gate()
    blocker = scheduler.submit(brief(0, steps=2), on_progress=gate)
    assert gate.reached.wait(60)
    futures = []
    for name, options in {"late": {}, "soon": {"timeout": 60.0}, "first": {"priority": 1}}.items():
        futures.append(
            scheduler.submit(brief(1, steps=20), **options) if name == "late" else scheduler.submit(brief(1), **options)
        )
        futures[-1].add_done_callback(lambda _, name=name: order.append(name))
    gate.open.set()
    for future in (blocker, *futures):
        pixels(future)
    assert order[0] == "first"


def test_a_request_that_would_miss_its_deadline_is_shed_with_a_reason(opened: Open) -> None:
    now = [0.0]
    scheduler, gate = opened(clock=lambda: now[0]), Gate()
    pixels(scheduler.submit(brief(0)))  # the time of a step is known from here on
    running = scheduler.submit(brief(1, steps=9), timeout=30.0, on_progress=gate)
    assert gate.reached.wait(60)
    late = scheduler.submit(brief(2, steps=50), timeout=1e-6)
    untouched = scheduler.submit(brief(3))
    now[0] = 31.0
    gate.open.set()
    for future in (late, running):
        with pytest.raises(Shed, match=r"deadline in .* s; allowed: .* s for \d+ more steps"):
            future.result(60)
    assert pixels(untouched).shape == (64, 64, 3)
    assert scheduler.metrics.ended[Status.LATE] == 2


def test_a_full_queue_refuses(opened: Open) -> None:
    scheduler, gate = opened(queue=2), Gate()
    running = scheduler.submit(brief(0), on_progress=gate)
    assert gate.reached.wait(60)
    scheduler.submit(brief(1), timeout=100.0)
    with pytest.raises(Shed, match="queue=2 requests; allowed: 2"):
        scheduler.submit(brief(2), timeout=200.0)
    gate.open.set()
    assert pixels(running).shape == (64, 64, 3)


def test_cancelling_ends_within_one_step(opened: Open) -> None:
    scheduler = opened()
    progress: dict[str, list[int]] = {"future": [], "asked": [], "gone": [], "kept": []}
    gate, stop = Gate(at=3), threading.Event()

    def gone(step: int, total: int) -> None:
        progress["gone"].append(step)
        if step == 3:
            raise ConnectionError("the client is gone")

    def watch(name: str) -> Callable[[int, int], None]:
        return lambda step, total: progress[name].append(step)

    with scheduler._wake:
        uncancelled = scheduler.submit(brief(1, steps=8), on_progress=watch("kept"))
        cancelled = scheduler.submit(brief(2, steps=8), on_progress=watch("future"))
        by_callback = scheduler.submit(brief(3, steps=8), on_progress=watch("asked"), is_cancelled=stop.is_set)
        dead = scheduler.submit(brief(4, steps=8), on_progress=gone)
        last = scheduler.submit(brief(5, steps=4), on_progress=gate)
    assert gate.reached.wait(60)
    cancelled.cancel()
    stop.set()
    rows = scheduler.metrics.rows
    gate.open.set()
    with pytest.raises(Cancelled, match="cancelled with 5 steps to go"):
        by_callback.result(60)
    with pytest.raises(ConnectionError):
        dead.result(60)
    with pytest.raises(CancelledError):
        cancelled.result(60)
    pixels(last)
    pixels(uncancelled)
    assert progress["future"] == progress["asked"] == progress["gone"] == [1, 2, 3]
    assert progress["kept"] == list(range(1, 9))
    # Three of five left with 5 steps of 2 rows each: all of it is freed.
    assert scheduler.metrics.rows - rows == 2 * 5 + 2 * 1
    assert scheduler.metrics.ended == {Status.DONE: 2, Status.CANCELLED: 2, Status.FAILED: 1}


def truncated() -> Image.Image:
    data = io.BytesIO()
    PICTURE.save(data, "png")
    return Image.open(io.BytesIO(data.getvalue()[:400]))


def test_bad_input_is_named_and_fails_no_other_request(opened: Open) -> None:
    scheduler, gate = opened(), Gate(at=2)
    alone = pixels(scheduler.submit(MINE[0]))
    good = scheduler.submit(MINE[0], on_progress=gate)
    assert gate.reached.wait(60)
    for match, ask in {
        r"size=\(80, 64\); allowed: \(64, 64\), \(96, 64\)": lambda: scheduler.submit(brief(size=(80, 64))),
        "lora='none'; allowed: ''": lambda: scheduler.submit(brief(), lora="none"),
        "steps=0; allowed: a whole number in 1..100": lambda: scheduler.submit(brief(steps=0)),
        "steps=10000; allowed: a whole number in 1..100": lambda: scheduler.submit(brief(steps=10_000)),
        "not finite": lambda: scheduler.submit(brief(user_embedding=np.full(64, np.nan, np.float32))),
        "references holds a picture that cannot be decoded": lambda: scheduler.submit(brief(references=(truncated(),))),
        "deadline is not a number": lambda: scheduler.submit(brief(), timeout=float("nan")),
    }.items():
        with pytest.raises(BriefError, match=match):
            ask()
    late = user(0).copy()
    spoilt = scheduler.submit(brief(user_embedding=late))
    late[0] = np.nan  # after the brief was checked
    wide = scheduler.submit(brief(user_embedding=np.ones(32, np.float32)))
    gate.open.set()
    with pytest.raises(BriefError, match="user_embedding width=32; allowed: 64"):
        wide.result(60)
    with pytest.raises(BriefError, match="NaN or infinity"):
        spoilt.result(60)
    assert np.array_equal(pixels(good), alone)
    assert scheduler.metrics.ended[Status.REFUSED] == 2


def test_a_model_error_fails_the_requests_of_its_call_alone(opened: Open) -> None:
    scheduler, gate = opened(), Gate(at=2)
    family, real = scheduler._pipeline.family, scheduler._pipeline.family.predict
    good = scheduler.submit(MINE[0], on_progress=gate)
    assert gate.reached.wait(60)

    def broken(x: Any, t: Any, embeds: Any, pooled: Any, size: tuple[int, int], *others: Any) -> Any:
        if size == WIDE:
            raise RuntimeError("out of memory")
        return real(x, t, embeds, pooled, size, *others)

    family.predict = broken  # type: ignore[method-assign]
    bad = scheduler.submit(MINE[4])
    gate.open.set()
    with pytest.raises(RuntimeError, match="out of memory"):
        bad.result(60)
    image = pixels(good)
    family.predict = real  # type: ignore[method-assign]
    assert np.array_equal(pixels(scheduler.submit(MINE[0])), image)


def test_a_picture_that_cannot_be_set_in_fails_its_own_cover_alone(opened: Open) -> None:
    scheduler = opened()
    alone = pixels(scheduler.submit(MINE[0]))
    picture = PICTURE.copy()
    failing = brief(4, references=(picture,), reference_strength=0.5)
    with scheduler._wake:
        bad = scheduler.submit(failing, on_progress=lambda step, total: picture.close())
        good = scheduler.submit(MINE[0])
    with pytest.raises(ValueError, match="closed image"):
        bad.result(60)
    assert np.array_equal(pixels(good), alone)


def test_readings_are_kept_and_bounded(opened: Open) -> None:
    scheduler = opened()
    for n in range(3):
        pixels(scheduler.submit(brief(n, steps=1)))
    assert (scheduler.metrics.reading_hits, scheduler.metrics.reading_misses) == (2, 1)
    for n in range(10):
        pixels(scheduler.submit(brief(title=f"item {n}", steps=1)))
    assert scheduler.metrics.reading_misses == 11
    assert scheduler.metrics.reading_evictions == 3
    assert len(scheduler._pipeline.readings) == 8


def test_closing_ends_every_request(opened: Open) -> None:
    scheduler, gate = opened(), Gate()
    futures: list[Future[Image.Image]] = [scheduler.submit(brief(0, steps=50), on_progress=gate)]
    assert gate.reached.wait(60)
    futures.append(scheduler.submit(brief(1)))
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    gate.open.set()
    closing.join(60)
    for future in futures:
        with pytest.raises(Cancelled, match="closed"):
            future.result(60)
    with pytest.raises(Cancelled, match="closed"):
        scheduler.submit(brief())
    assert not scheduler._thread.is_alive()


def test_a_brief_is_drawn_by_its_own_seed(opened: Open) -> None:
    scheduler = opened()
    one, other = (pixels(scheduler.submit(replace(MINE[0], seed=seed))) for seed in (1, 2))
    assert not np.array_equal(one, other)
