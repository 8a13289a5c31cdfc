"""Preference: whether this user would like the cover, the cosine of user and cover embedding. Knows nothing about titles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from icg.brief import Brief
from icg.errors import IcgError
from icg.models.dual import WIDTH
from icg.models.joint import JointEmbedding
from icg.rewards.joint import JointReward


class Preference(JointReward):
    """Dot product of the unit cover embedding and the user embedding, in -1..1; 0 for a cold user.

    Raises IcgError for a user embedding of another width.
    """

    name = "preference"

    def __init__(self, embedding: JointEmbedding, device: str | torch.device = "cpu") -> None:
        super().__init__(embedding, device)
        self.side = embedding.space.side

    def _rate(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        return (self.judge.covers(images) * _users(briefs).to(self.judge.device)).sum(1)


def _users(briefs: Sequence[Brief]) -> Tensor:
    """(B, 64), zeros for cold users."""
    rows = np.zeros((len(briefs), WIDTH), np.float32)
    for row, brief in zip(rows, briefs, strict=True):
        if brief.user_embedding is None:
            continue
        if brief.user_embedding.shape != row.shape:
            raise IcgError(f"user_embedding of shape {brief.user_embedding.shape}; allowed: {row.shape}")
        row[:] = brief.user_embedding
    return torch.from_numpy(rows)
