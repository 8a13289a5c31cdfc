"""Early steps drawn once for all users of an item: what an image shows is settled early, how it looks for whom later.

A trunk draws the first steps for nobody, or for a taste that its users have in common; then each user's run branches off. A cover
depends on its brief and its share alone, never on who else shares: a lone user's trunk is drawn just the same.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np

from icg.draw.pipeline import CoverPipeline
from icg.draw.sampler import Sampler, anchor_step
from icg.scheduler.request import Request, Share

KEPT = 256


class Trunks:
    """The first `fraction` of the steps, rounded; a bounded LRU keeps finished trunks for those who come later."""

    def __init__(self, pipeline: CoverPipeline, fraction: float) -> None:
        self._pipeline, self.fraction = pipeline, fraction
        self._kept: OrderedDict[tuple[object, ...], Sampler] = OrderedDict()

    def steps(self, request: Request) -> int:
        """How many steps of this request are shared: none without a share or around a product, never the one that sets the reference in."""
        if request.share is None or request.brief.inpaint:
            return 0
        brief = request.brief
        return min(round(self.fraction * brief.steps), anchor_step(brief) or brief.steps - 1)

    def start(self, request: Request, share: Share) -> Sampler:
        """The trunk to follow."""
        brief = request.brief
        common = None if share.user is None else np.asarray(share.user, np.float32)
        taste = b"" if common is None else common.tobytes()
        how = (brief.steps, brief.size, brief.guidance, brief.user_guidance, brief.guided)
        how += (brief.strength, request.lora)
        key = (request.digest, share.seed, taste, self.steps(request), *how)
        if key not in self._kept:
            drawn = replace(brief, seed=share.seed, user_embedding=common, reference_strength=0.0, product=None)
            self._kept[key] = self._pipeline.sampler(drawn, request.product, request.digest, trunk=True)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def branch(self, request: Request, share: Share, trunk: Sampler) -> Sampler:
        """The request's own run, once its trunk has taken the shared steps."""
        return trunk.branch(replace(request.brief, seed=share.seed), self._pipeline.user(request.brief))

    def drop(self, run: Sampler) -> None:
        """Forget a trunk that broke."""
        self._kept = OrderedDict((key, kept) for key, kept in self._kept.items() if kept is not run)
