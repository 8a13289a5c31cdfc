"""The scheduler in bfloat16: a cover is the same alone and beside others, and near the one of full precision."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.errors import BriefError, CheckpointError
from icg.scheduler.deployment import on_device
from icg.settings import DrawingSettings
from icg.starter import Starter

BRIEFS = [Brief(title, seed=n, steps=3) for n, title in enumerate(("red circle", "blue square", "green triangle"))]


def copied(small: Starter) -> CoverPipeline:
    old = small.pipeline
    return CoverPipeline(old.vlm, old.processor, copy.deepcopy(old.diffusion), old.adapter)


def test_a_cover_is_the_same_alone_and_beside_others(small: Starter) -> None:
    pipeline = copied(small)
    pipeline.settings = DrawingSettings(dtype="bfloat16")
    scheduler = on_device(pipeline, "cpu")
    try:
        assert pipeline.family.denoiser.dtype == pipeline.family.vae.dtype == torch.bfloat16
        alone = scheduler.submit(BRIEFS[0]).result(60)
        together = [future.result(60) for future in map(scheduler.submit, BRIEFS)]
    finally:
        scheduler.close()
    assert alone.tobytes() == together[0].tobytes()
    assert together[0].tobytes() != together[1].tobytes()
    full = small.pipeline([BRIEFS[0]])[0]
    assert np.abs(np.asarray(alone, int) - np.asarray(full, int)).mean() < 4


@pytest.mark.parametrize("device", ["cuda:9", "tpu", "cpu:cpu"])
def test_a_device_that_does_not_exist_is_refused(small: Starter, device: str) -> None:
    with pytest.raises(CheckpointError, match=f"device='{device}'; allowed: cpu"):
        on_device(copied(small), device)


def test_sizes_are_those_of_the_checkpoint(small: Starter) -> None:
    pipeline = copied(small)
    pipeline.settings = DrawingSettings(size=(64, 96), sizes=((96, 64),), steps=2)
    scheduler = on_device(pipeline, "cpu")
    try:
        for size in pipeline.settings.all_sizes:
            assert scheduler.submit(replace(BRIEFS[0], size=size)).result(60).size == size
        with pytest.raises(BriefError, match=r"size=\(128, 128\); allowed: \(64, 96\), \(96, 64\)"):
            scheduler.submit(BRIEFS[0])
    finally:
        scheduler.close()


def test_an_autoencoder_that_overflows_in_float16_is_not_cast(small: Starter) -> None:
    pipeline = copied(small)
    pipeline.family.vae.register_to_config(force_upcast=True)
    pipeline.to("cpu", torch.float16)
    assert pipeline.family.denoiser.dtype == torch.float16
    assert pipeline.family.vae.dtype == torch.float32
