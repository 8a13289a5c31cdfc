"""Search over designs: of several designs for a title, the one whose cover the engagement model rates best for the target."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from icg.brief import Brief
from icg.design.designer import Designer
from icg.design.kpi import misses
from icg.design.schema import Design
from icg.draw.pipeline import CoverPipeline
from icg.rewards.base import Reward

BATCH = 8


class RatedDesign(NamedTuple):
    """A design, its cover, and the reward of that cover."""

    design: Design
    cover: Image.Image
    engagement: float


def search(
    designer: Designer,
    pipeline: CoverPipeline,
    reward: Reward,
    brief: Brief,
    target: str,
    count: int,
    account: str = "",
    time: float | None = None,
) -> list[RatedDesign]:
    """`count` sampled designs, each drawn with the brief's seed, the best first: for "high" the highest reward, for "low" the lowest, for
    "medium" the nearest to the middle. Samples use torch's global generator. Raises IcgError for an unknown target."""
    designs = designer.model.write(brief.title, target, account, time, count, temperature=1.0)
    briefs = [designer.apply(brief, design) for design in designs]
    covers = [cover for n in range(0, count, BATCH) for cover in pipeline(briefs[n : n + BATCH])]
    rated = reward(covers, [brief] * count)
    order = np.argsort(misses(rated, target), kind="stable")
    return [RatedDesign(designs[n], covers[n], float(rated[n])) for n in order]
