"""Requests with low-rank weights beside requests without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from icg.draw.pipeline import CoverPipeline
from icg.errors import CheckpointError
from icg.scheduler.engine import StepScheduler

from tests.unit.icg.pipelines import brief, pixels

pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")


def saved(pipeline: CoverPipeline, folder: Path, seed: int) -> Path:
    pipeline.family.add_lora(4)
    torch.manual_seed(seed)
    for name, weights in pipeline.family.denoiser.named_parameters():
        if "lora_" in name:
            weights.data = torch.randn_like(weights) * 0.5
    pipeline.family.save_lora(folder)
    return folder


@pytest.mark.parametrize("name", ["sana", "sd15"])
def test_each_request_has_its_own(
    covers: Callable[[str], CoverPipeline], opened: Callable[..., StepScheduler], tmp_path: Path, name: str
) -> None:
    folders = {f"{n}": saved(covers(name), tmp_path / f"{n}", n) for n in (1, 2)}
    want = {}
    for lora in ("", *folders):
        pipeline = covers(name)
        if lora:
            pipeline.family.load_lora(folders[lora])
        want[lora] = np.asarray(pipeline([brief()])[0], int)
    scheduler = opened(name, loras=folders)
    alone = {lora: pixels(scheduler.submit(brief(), lora=lora)) for lora in want}
    with scheduler._wake:
        futures = {(lora, n): scheduler.submit(brief(n), lora=lora) for n in (0, 1) for lora in want}
    for lora in want:
        image = pixels(futures[lora, 0])
        assert np.array_equal(image, alone[lora])
        assert np.abs(image.astype(int) - want[lora]).max() <= 1
    assert len({image.tobytes() for image in alone.values()}) == 3


def test_weights_that_do_not_fit_are_named(
    covers: Callable[[str], CoverPipeline], opened: Callable[..., StepScheduler], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"lora=.*nowhere"):
        opened(loras={"a": tmp_path / "nowhere"})
    with pytest.raises(CheckpointError, match="lora name=''"):
        opened(loras={"": saved(covers("sana"), tmp_path, 1)})
