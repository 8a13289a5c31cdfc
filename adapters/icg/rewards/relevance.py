"""Relevance: whether the cover shows what the title says, by the joint embedding's cosine. Knows nothing about users.

A cosine alone can rise for every title at once; `Recognition` compares the cover's title with others, so it suits alignment.
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
"""Titles of this cosine are paraphrases of one title."""


class Relevance(JointReward):
    """Cosine of cover and title in the joint space, in -1..1."""

    name = "relevance"

    def _rate(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        return (self.judge.images(images) * self.judge.texts([b.title for b in briefs])).sum(1)


class Recognition(Relevance):
    """Log-probability of the cover's title among it and `others`, by a softmax of cosines at `scale` (CLIP's logit scale)."""

    def __init__(
        self, embedding: JointEmbedding, others: Sequence[str], scale: float = 20.0, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(embedding, device)
        if not others or not scale > 0:
            raise IcgError(f"others={len(others)} titles, scale={scale}; allowed: at least one title, a scale above 0")
        self.others, self.scale = self.judge.texts(others), scale
        self.range = (-2 * scale - math.log(1 + len(others)), 0.0)

    def _rate(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        covers, titles = self.judge.images(images), self.judge.texts([b.title for b in briefs])
        other = (covers @ self.others.T).masked_fill(titles @ self.others.T > SAME, -torch.inf)
        true = (covers * titles).sum(1, keepdim=True)
        return (self.scale * torch.cat([true, other], 1)).log_softmax(1)[:, 0]
