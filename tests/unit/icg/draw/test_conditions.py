"""What the adapter makes for many covers in one call, against what it makes for each alone."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import pytest
import torch
from icg import starter
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.draw.sampler import Conditions, Run

from tests.unit.icg import tiny
from tests.unit.icg.pipelines import SIZE


def briefs(pipeline: CoverPipeline, count: int) -> list[Brief]:
    """With and without a user, guided by it or not, of several strengths."""
    users = np.random.default_rng(0).normal(size=(count, pipeline.adapter.config.user)).astype(np.float32)
    how = [{}, {"user_guidance": 2.0}, {"strength": 0.3}, {"user_embedding": None}, {"guidance": 1.0}]
    return [
        Brief(f"owl {n % 3}", **{"user_embedding": u, "seed": n, "size": SIZE} | how[n % 5])  # type: ignore[arg-type]
        for n, u in enumerate(users)
    ]


def told(conditions: Conditions, pipeline: CoverPipeline, asked: list[Brief]) -> list[Run]:
    runs = [Run(pipeline, b, conditions(b, b.item_digest())) for b in asked]
    with torch.inference_mode():
        conditions.tell(runs)
    return runs


def together_as_alone(pipeline: CoverPipeline) -> None:
    conditions, asked = Conditions(pipeline, exact=True), briefs(pipeline, 11)
    alone = [told(conditions, pipeline, [b])[0].kinds for b in asked]
    for some in (asked[:2], asked[3:], asked):
        for run in told(conditions, pipeline, some):
            for mine, other in zip(run.kinds, alone[asked.index(run.brief)], strict=True):
                assert mine.weight == other.weight
                assert torch.equal(mine.embeds, other.embeds)
                assert (mine.pooled is None) == (other.pooled is None)
                assert mine.pooled is None or other.pooled is None or torch.equal(mine.pooled, other.pooled)


@pytest.mark.parametrize("name", tiny.DIFFUSION)
def test_together_as_alone(covers: Callable[[str], CoverPipeline], name: str) -> None:
    together_as_alone(covers(name))


def test_together_as_alone_in_the_shipped_starter() -> None:
    """At real widths the kernels are others; all of them go in one call."""
    pipeline = starter.load().pipeline
    together_as_alone(pipeline)
    conditions, asked = Conditions(pipeline, exact=True), briefs(pipeline, 9)
    told(conditions, pipeline, asked)
    with patch.object(pipeline.adapter, "forward", wraps=pipeline.adapter.forward) as made:
        told(conditions, pipeline, asked)
    assert made.call_count == 1
