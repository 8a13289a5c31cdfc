"""Early steps sampled once for all users of an item: they settle what a cover shows, later ones how it looks for a user.

A trunk samples the first steps without a user, or for a taste that its users have in common; then a sampler for each user branches
off. A cover depends on its brief and its share alone, not on the others: a single user's trunk is the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from cachetools import LRUCache

from icg.draw.pipeline import CoverPipeline
from icg.draw.sampler import Sampler, anchor_step
from icg.scheduler.request import Request, Share

LIMIT = 256
"""Trunks in memory at most."""


class Trunks:
    """Trunks of the first `fraction` of the steps, rounded; finished ones are kept for later requests."""

    def __init__(self, pipeline: CoverPipeline, fraction: float) -> None:
        self._pipeline, self.fraction = pipeline, fraction
        self._trunks: LRUCache[tuple[object, ...], Sampler] = LRUCache(LIMIT)

    def steps(self, request: Request) -> int:
        """How many steps of this request are shared: none without a share or with inpainting, and none from its anchor on."""
        if request.share is None or request.brief.inpaint:
            return 0
        brief = request.brief
        return min(round(self.fraction * brief.steps), anchor_step(brief) or brief.steps - 1)

    def start(self, request: Request, share: Share) -> Sampler:
        """The trunk of this request."""
        brief = request.brief
        common = None if share.user is None else np.asarray(share.user, np.float32)
        taste = b"" if common is None else common.tobytes()
        knobs = (
            brief.steps,
            brief.size,
            brief.guidance,
            brief.user_guidance,
            brief.guided,
            brief.strength,
            brief.negative,
            request.lora,
        )
        key = (request.digest, share.seed, taste, self.steps(request), *knobs)
        if key not in self._trunks:
            common_brief = replace(brief, seed=share.seed, user_embedding=common, reference_strength=0.0, product=None)
            self._trunks[key] = self._pipeline.sampler(common_brief, request.product, request.digest, trunk=True)
        return self._trunks[key]

    def branch(self, request: Request, share: Share, trunk: Sampler) -> Sampler:
        """The request's own sampler, after its trunk has taken the shared steps."""
        user = self._pipeline.user(request.brief)
        other, place = self._pipeline.drawn_user(request.brief, user), self._pipeline.place(request.brief, user)
        return trunk.branch(replace(request.brief, seed=share.seed), other, place)

    def drop(self, sampler: Sampler) -> None:
        """Forget a trunk that failed."""
        for key in [key for key, trunk in self._trunks.items() if trunk is sampler]:
            del self._trunks[key]
