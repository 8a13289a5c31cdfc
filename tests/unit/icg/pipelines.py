"""Schedulers with real classes of every diffusion family, so narrow that a step takes milliseconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.models.compatible import family_of
from icg.scheduler.engine import StepScheduler
from PIL import Image

from tests.unit.icg import tiny, tiny_vlm

SIZE, WIDE = (64, 64), (96, 64)
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8))
PRODUCT = Image.new("RGBA", (40, 40))
PRODUCT.paste(Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)), (5, 10))


@contextmanager
def single_thread() -> Iterator[None]:
    """Splitting small products between threads costs time. The number is restored: bits of large products depend on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="session")
def covers(vlm_of: Callable[[str], tuple[Any, Any]]) -> Callable[[str], CoverPipeline]:
    """A new pipeline of a family of `tiny`, with the same random weights each time."""

    def make(name: str) -> CoverPipeline:
        stock = tiny.diffusion(name)
        spec = family_of(stock).spec
        torch.manual_seed(1)
        adapter = IcgAdapter(AdapterConfig(tiny_vlm.WIDTH, spec.width, spec.pooled, tokens=tiny.TOKENS))
        return CoverPipeline(*vlm_of("smolvlm"), stock, adapter, cache=8)

    return make


@pytest.fixture
def opened(covers: Callable[[str], CoverPipeline]) -> Iterator[Callable[..., StepScheduler]]:
    """Schedulers that are closed after the test."""
    schedulers: list[StepScheduler] = []

    def make(name: str = "sana", **options: Any) -> StepScheduler:
        schedulers.append(StepScheduler(covers(name), **{"sizes": (SIZE, WIDE), **options}))
        return schedulers[-1]

    yield make
    for scheduler in schedulers:
        scheduler.close()


def user(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(64).astype(np.float32)
    return vector / np.linalg.norm(vector)


def brief(seed: int = 0, **options: Any) -> Brief:
    return Brief(
        **{"title": "red kettle", "user_embedding": user(seed), "seed": seed, "steps": 4, "size": SIZE} | options
    )


def pixels(future: Future[Image.Image]) -> np.ndarray:
    return np.asarray(future.result(60))


class Gate:
    """Holds the scheduler's thread in the progress callback of one request, so that a test knows its state."""

    def __init__(self, at: int = 1) -> None:
        self.at, self.reached, self.open = at, threading.Event(), threading.Event()

    def __call__(self, step: int, total: int) -> None:
        if step == self.at:
            self.reached.set()
            assert self.open.wait(60)
