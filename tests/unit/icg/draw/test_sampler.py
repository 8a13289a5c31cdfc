"""One sampler: a seed gives one picture, whatever the scheduler's random numbers and the rest of the batch are."""

from __future__ import annotations

from collections.abc import Callable

import diffusers as d
import numpy as np
import pytest
import torch
from icg.draw.estimate import Estimate
from icg.draw.pipeline import CoverPipeline
from icg.draw.sampler import stack
from icg.scheduler.engine import StepScheduler

from tests.unit.icg import tiny
from tests.unit.icg.pipelines import brief, pixels

STOCHASTIC = {
    "euler-ancestral": (d.EulerAncestralDiscreteScheduler, {}),
    "ddpm": (d.DDPMScheduler, {}),
    "lcm": (d.LCMScheduler, {}),
    "sde-dpm++": (d.DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
}
ROUNDING = 2
"""Grey levels by which kernels for another number of rows may round a picture otherwise, in the library."""


def with_scheduler(covers: Callable[[str], CoverPipeline], name: str) -> CoverPipeline:
    kind, options = STOCHASTIC[name]
    pipeline = covers("sd15")
    pipeline.diffusion.scheduler = kind.from_config(pipeline.diffusion.scheduler.config, **options)
    return pipeline


def array(image: object) -> np.ndarray:
    return np.asarray(image, np.int16)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_one_seed_is_one_picture_in_every_call_of_the_library(
    covers: Callable[[str], CoverPipeline], name: str
) -> None:
    pipeline = with_scheduler(covers, name)
    first, again = (array(pipeline([brief(3)])[0]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - array(pipeline([brief(4)])[0])).max() > ROUNDING, "another seed is another picture"


@pytest.mark.parametrize("name", STOCHASTIC)
def test_one_seed_is_one_picture_in_any_batch_of_the_library(covers: Callable[[str], CoverPipeline], name: str) -> None:
    pipeline = with_scheduler(covers, name)
    alone = array(pipeline([brief(3)])[0])
    for seeds in ((3, 4, 5), (5, 3)):
        together = [array(image) for image in pipeline([brief(seed) for seed in seeds])]
        assert np.abs(together[seeds.index(3)] - alone).max() <= ROUNDING


@pytest.mark.parametrize("name", STOCHASTIC)
def test_one_seed_is_one_picture_in_any_batch_of_the_service(covers: Callable[[str], CoverPipeline], name: str) -> None:
    in_library = array(with_scheduler(covers, name)([brief(3)])[0])
    scheduler = StepScheduler(with_scheduler(covers, name), sizes=((64, 64),))
    try:
        alone = pixels(scheduler.submit(brief(3)))
        together = [scheduler.submit(brief(seed)) for seed in (5, 3, 4)]
        np.testing.assert_array_equal(pixels(together[1]), alone)
    finally:
        scheduler.close()
    assert np.abs(alone.astype(np.int16) - in_library).max() <= ROUNDING


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_a_loss_sees_the_inputs_of_the_step_it_asks_for(covers: Callable[[str], CoverPipeline], name: str) -> None:
    """Also for a schedule that counts its own steps, in any order of steps."""
    pipeline = covers(name)
    batch = pipeline.start([brief(1), brief(2)])
    for step in (2, 0, 3):
        at = Estimate(pipeline, batch, step)
        torch.testing.assert_close(at.now.inputs, batch.latents / at.now.mixture.scale)


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_a_loss_estimates_what_the_sampler_estimates(covers: Callable[[str], CoverPipeline], name: str) -> None:
    pipeline = covers(name)
    batch = pipeline.start([brief(1, strength=0.4), brief(2, user_guidance=2.0)])
    pipeline.step(batch)
    with torch.no_grad():
        at = Estimate(pipeline, batch)
        clean = at.clean(at.predict(at.personal(pipeline.adapter)))
        rows = stack(batch.samplers)
        predictions = pipeline.predict(*rows, batch.samplers[0].brief.size).split([s.rows for s in batch.samplers])
        for sampler, part, mine in zip(batch.samplers, predictions, clean, strict=True):
            sampler.advance(part, keep_clean=True)
            torch.testing.assert_close(sampler.clean, mine, rtol=1e-4, atol=1e-4)
