"""Relevance: does the cover show what the title says? By the joint embedding's cosine. Knows nothing about users.

A cosine alone can rise for every title at once; `Recognition` asks for the own title before others, and so is what to align to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from icg.brief import Brief
from icg.errors import IcgError
from icg.models.joint import JointEmbedding
from icg.rewards.joint import JointReward

SAME = 0.98
"""Titles as close as this are the same title in other words."""


class Relevance(JointReward):
    """Cosine of cover and title in the joint space, in -1..1."""

    name = "relevance"

    def _rate(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        return (self.judge.images(images) * self.judge.texts([b.title for b in briefs])).sum(1)


class Recognition(Relevance):
    """Log-probability of the own title beside `others`, by a softmax of cosines at `scale` (CLIP's logit scale)."""

    def __init__(
        self, embedding: JointEmbedding, others: Sequence[str], scale: float = 20.0, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(embedding, device)
        if not others or not scale > 0:
            raise IcgError(f"others={len(others)} titles, scale={scale}; allowed: at least one title, a scale above 0")
        self.others, self.scale = self.judge.texts(others), scale
        self.range = (-2 * scale - math.log(1 + len(others)), 0.0)

    def _rate(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        shown, own = self.judge.images(images), self.judge.texts([b.title for b in briefs])
        other = (shown @ self.others.T).masked_fill(own @ self.others.T > SAME, -torch.inf)
        true = (shown * own).sum(1, keepdim=True)
        return (self.scale * torch.cat([true, other], 1)).log_softmax(1)[:, 0]
