"""The adapter's conditions of many covers in one call equal those of each alone."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import pytest
import torch
from icg import starter
from icg.brief import Brief
from icg.draw.conditions import Conditioner
from icg.draw.pipeline import CoverPipeline
from icg.draw.sampler import Sampler

from tests.unit.icg import tiny
from tests.unit.icg.pipelines import SIZE


def briefs(pipeline: CoverPipeline, count: int) -> list[Brief]:
    """With and without a user, with and without user guidance, of several strengths."""
    users = np.random.default_rng(0).normal(size=(count, pipeline.adapter.config.user)).astype(np.float32)
    options = [{}, {"user_guidance": 2.0}, {"strength": 0.3}, {"user_embedding": None}, {"guidance": 1.0}]
    return [
        Brief(f"owl {n % 3}", **{"user_embedding": u, "seed": n, "size": SIZE} | options[n % 5])  # type: ignore[arg-type]
        for n, u in enumerate(users)
    ]


def conditioned(conditioner: Conditioner, pipeline: CoverPipeline, briefs: list[Brief]) -> list[Sampler]:
    with torch.inference_mode():
        samplers = [pipeline.sampler(brief) for brief in briefs]
        conditioner(samplers)
    return samplers


def together_as_alone(pipeline: CoverPipeline) -> None:
    conditioner, all_briefs = Conditioner(pipeline.adapter, exact=True), briefs(pipeline, 11)
    alone = [conditioned(conditioner, pipeline, [b])[0].weighted for b in all_briefs]
    for part in (all_briefs[:2], all_briefs[3:], all_briefs):
        for sampler in conditioned(conditioner, pipeline, part):
            for (weight, mine), (other_weight, other) in zip(
                sampler.weighted, alone[all_briefs.index(sampler.brief)], strict=True
            ):
                assert weight == other_weight
                assert torch.equal(mine.embeds, other.embeds)
                assert (mine.pooled is None) == (other.pooled is None)
                assert mine.pooled is None or other.pooled is None or torch.equal(mine.pooled, other.pooled)


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_together_as_alone(covers: Callable[[str], CoverPipeline], name: str) -> None:
    together_as_alone(covers(name))


def test_together_as_alone_in_the_shipped_starter() -> None:
    """Real widths use other kernels. How many covers share a call depends on the processor: all nine on most."""
    pipeline = starter.load().pipeline
    together_as_alone(pipeline)
    conditioner, all_briefs = Conditioner(pipeline.adapter, exact=True), briefs(pipeline, 9)
    conditioned(conditioner, pipeline, all_briefs)
    with patch.object(pipeline.adapter, "forward", wraps=pipeline.adapter.forward) as forward:
        conditioned(conditioner, pipeline, all_briefs)
    assert forward.call_count < len(all_briefs)
