"""The scheduler in bfloat16: a cover is the same alone and beside others, and near the one of full precision."""

import copy

import numpy as np
import torch
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.scheduler.engine import StepScheduler
from icg.starter import Starter

BRIEFS = [Brief(title, seed=n, steps=3) for n, title in enumerate(("red circle", "blue square", "green triangle"))]


def copied(small: Starter) -> CoverPipeline:
    old = small.pipeline
    return CoverPipeline(old.vlm, old.processor, copy.deepcopy(old.diffusion), old.adapter)


def test_a_cover_is_the_same_alone_and_beside_others(small: Starter) -> None:
    pipeline = copied(small)
    scheduler = StepScheduler(pipeline, half=True)
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
