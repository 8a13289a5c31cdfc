"""What only a GPU can show of the step scheduler: recorded calls, half precision, decoding beside the steps. Skipped without one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from icg.brief import Brief
from icg.errors import Cancelled
from icg.scheduler.engine import StepScheduler
from icg.scheduler.fast import Fast

from benchmarks.gpu import HALF, pipeline_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
GRAPHS = Fast(torch.float32, channels_last=False, compiled=False)
SIZE = {"sd15": (64, 64), "sdxl": (64, 64), "starter": (128, 128)}
Open = Callable[..., StepScheduler]


def brief(name: str, seed: int, **how: object) -> Brief:
    user = np.eye(64, dtype=np.float32)[seed % 64]
    return Brief(**{"title": "panda", "user_embedding": user, "seed": seed, "steps": 6, "size": SIZE[name]} | how)  # type: ignore[arg-type]


@pytest.fixture
def opened() -> Iterator[Open]:
    schedulers: list[StepScheduler] = []

    def make(name: str, fast: Fast | None, rows: int = 16) -> StepScheduler:
        pipeline = pipeline_of(name, torch.device("cuda"), 4, narrow=True)
        schedulers.append(StepScheduler(pipeline, (SIZE[name],), rows=rows, fast=fast))
        return schedulers[-1]

    yield make
    for scheduler in schedulers:
        scheduler.close()


def image(scheduler: StepScheduler, request: list[Brief]) -> np.ndarray:
    return np.stack([np.asarray(f.result(120), int) for f in [scheduler.submit(b) for b in request]])


@pytest.mark.parametrize("name", SIZE)
def test_recorded_calls_draw_the_same(opened: Open, name: str) -> None:
    request = [brief(name, n) for n in range(5)]
    plain, recorded = image(opened(name, None), request), image(opened(name, GRAPHS), request)
    assert np.abs(plain - recorded).mean() < 1
    assert np.abs(plain[0] - plain[1]).mean() > 2


@pytest.mark.parametrize(
    "fast", [HALF, replace(HALF, graphs=True), replace(HALF, graphs=True, fused=True), Fast(rungs=(2, 16))]
)
def test_half_precision_draws_nearly_the_same(opened: Open, fast: Fast) -> None:
    request = [brief("starter", n, steps=8) for n in range(4)]
    assert np.abs(image(opened("starter", None), request) - image(opened("starter", fast), request)).mean() < 4


def test_company_changes_little(opened: Open) -> None:
    scheduler = opened("starter", Fast(compiled=False))
    alone = image(scheduler, [brief("starter", 1)])[0]
    together = image(scheduler, [brief("starter", n, steps=4 + n) for n in (2, 3, 4)] + [brief("starter", 1)])[-1]
    assert np.abs(alone - together).mean() < 4


def test_who_withdraws_frees_the_device_within_two_steps(opened: Open) -> None:
    scheduler, begun, gone = opened("starter", GRAPHS), threading.Event(), threading.Event()
    future = scheduler.submit(
        brief("starter", 1, steps=100), is_cancelled=gone.is_set, on_progress=lambda *_: begun.set()
    )
    assert begun.wait(60)
    gone.set()
    with pytest.raises(Cancelled):
        future.result(60)
    assert scheduler.metrics.ticks < 90


def test_no_memory_is_left_behind(opened: Open) -> None:
    scheduler = opened("starter", Fast(compiled=False))
    image(scheduler, [brief("starter", n) for n in range(64)])
    held = torch.cuda.memory_allocated()
    image(scheduler, [brief("starter", n) for n in range(256)])
    assert torch.cuda.memory_allocated() - held < 2**20
    assert len(scheduler._decoding) == 0
