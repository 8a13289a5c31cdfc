"""Optimisations: calls of a few sizes, half precision, compiled code, and decoding beside the next steps."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from icg.draw.pipeline import CoverPipeline
from icg.draw.rows import Rows
from icg.errors import Cancelled, IcgError
from icg.scheduler.decoding import Decoder, Decoding
from icg.scheduler.engine import StepScheduler
from icg.scheduler.fast import Fast, Ladder
from PIL import Image

from tests.unit.icg import tiny
from tests.unit.icg.pipelines import PRODUCT, SIZE, Gate, brief, pixels

Open = Callable[..., StepScheduler]
PLAIN = Fast(torch.float32, channels_last=False, compiled=False, graphs=False, rungs=(2, 4))


def rows(count: int) -> Rows:
    return Rows(torch.arange(count * 4.0).view(count, 1, 2, 2), torch.ones(count), torch.ones(count, 1, 1), None)


def test_calls_are_filled_up_to_the_next_rung() -> None:
    sizes: list[int] = []

    def call(rows: Rows) -> torch.Tensor:
        sizes.append(len(rows.x))
        assert len(rows.x) == len(rows.t) == len(rows.embeds)
        return rows.x + 1

    ladder = Ladder(call, rows, (2, 3, 6), record=False)
    for count in (1, 2, 3, 4, 6):
        assert torch.equal(ladder(rows(count)), rows(count).x + 1)
    assert sizes == [2, 2, 3, 6, 6]
    with pytest.raises(IcgError, match="rows=7; allowed: at most 6"):
        ladder(rows(7))


@pytest.mark.parametrize("rungs", [(), (0, 2), (2, 2), (4, 2)])
def test_rungs_that_do_not_rise_are_refused(rungs: tuple[int, ...]) -> None:
    with pytest.raises(IcgError, match="rungs="):
        Fast(rungs=rungs)


def test_services_ask_by_name() -> None:
    half = Fast.named("half")
    assert Fast.named("plain") is None
    assert half is not None
    assert (half.dtype, half.compiled, half.graphs) == (torch.bfloat16, False, False)
    with pytest.raises(IcgError, match="fast='warp'; allowed: plain, half, graphs, compiled"):
        Fast.named("warp")


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_filled_calls_change_no_cover(covers: Callable[[str], CoverPipeline], opened: Open, name: str) -> None:
    briefs = [brief(n, product=PRODUCT if n == 2 else None) for n in range(3)]
    alone = [np.asarray(covers(name)([b])[0], int) for b in briefs]
    scheduler = opened(name, fast=PLAIN)
    for future, expected in zip([scheduler.submit(b) for b in briefs], alone, strict=True):
        assert np.abs(pixels(future) - expected).max() <= 3
    assert scheduler.metrics.calls < scheduler.metrics.rows


def test_half_precision_draws_nearly_the_same(covers: Callable[[str], CoverPipeline], opened: Open) -> None:
    plain = covers("sana")([brief(1)])[0]
    half = opened("sana", fast=Fast(compiled=False, graphs=False))
    cover = pixels(half.submit(brief(1))).astype(int)
    assert half._pipeline.family.denoiser.dtype == half._pipeline.family.vae.dtype == torch.bfloat16
    assert 0 < np.abs(cover - np.asarray(plain)).mean() < 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # its compiler uses what it warns of
def test_compiled_code_draws_the_same(covers: Callable[[str], CoverPipeline], opened: Open) -> None:
    plain = np.asarray(covers("sd15")([brief(1)])[0], int)
    compiled = opened("sd15", fast=Fast(torch.float32, graphs=False, rungs=(2,)), sizes=(SIZE,), rows=2)
    assert np.abs(pixels(compiled.submit(brief(1))) - plain).max() <= 1


class Late(Decoder):
    """Decoding that finishes only after `open`."""

    def __init__(self, pipeline: CoverPipeline) -> None:
        super().__init__(pipeline)
        self.open = threading.Event()

    def __call__(self, latents: torch.Tensor) -> Decoding:
        preview, opened = super().__call__(latents), self.open

        class Waiting(Decoding):
            @property
            def ready(self) -> bool:
                return opened.is_set()

            def pictures(self) -> list[Image.Image | None]:
                assert opened.wait(60)
                return preview.pictures()

        return Waiting(torch.empty(0), torch.empty(0), 0.0)


def test_steps_go_on_while_pictures_are_decoded(opened: Open) -> None:
    scheduler = opened("sana")
    late = scheduler._decoder = Late(scheduler._pipeline)
    gate, gone = Gate(at=8), threading.Event()
    short = scheduler.submit(brief(1, steps=2))
    left = scheduler.submit(brief(3, steps=2), is_cancelled=gone.is_set)
    long = scheduler.submit(brief(2, steps=9), on_progress=gate)
    assert gate.reached.wait(60)
    assert not short.done()
    gone.set()
    gate.open.set()
    with pytest.raises(Cancelled):
        left.result(60)
    assert not short.done()
    late.open.set()
    alone = opened("sana")
    assert np.array_equal(pixels(short), pixels(alone.submit(brief(1, steps=2))))
    assert np.array_equal(pixels(long), pixels(alone.submit(brief(2, steps=9))))
