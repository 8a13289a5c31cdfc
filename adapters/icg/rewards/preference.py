"""Preference: would this user like the cover? Cosine of user and cover embedding. Knows nothing about titles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg.brief import Brief
from icg.errors import IcgError
from icg.models.dual import WIDTH
from icg.models.joint import SIDE, JointEmbedding
from icg.rewards.base import check_tensor, collect, pixels
from icg.rewards.joint import JointJudge


class Preference:
    """Dot product of the unit cover embedding with the user embedding, in -1..1; 0 for a cold user."""

    name = "preference"
    range = (-1.0, 1.0)

    def __init__(self, embedding: JointEmbedding, device: str | torch.device = "cpu") -> None:
        self.judge = JointJudge(embedding, device)

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        """(B,) float32. IcgError for a user embedding of another width."""
        return collect(lambda i, b: self._rate(pixels(i, SIDE), b), images, briefs, self.range)

    def tensor(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        """images (B, 3, H, W) in [-1, 1] -> (B,)."""
        check_tensor(images, briefs)
        return self._rate(images, briefs)

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
