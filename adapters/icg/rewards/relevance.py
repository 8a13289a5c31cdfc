"""Relevance: does the cover show what the title says? The joint embedding's cosine. Knows nothing about users."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg.brief import Brief
from icg.embedding import SIDE, JointEmbedding
from icg.rewards.base import check_tensor, collect, pixels
from icg.rewards.joint import JointJudge


class Relevance:
    """Cosine of cover and title in the joint space, in -1..1."""

    name = "relevance"
    range = (-1.0, 1.0)

    def __init__(self, embedding: JointEmbedding, device: str | torch.device = "cpu") -> None:
        self.judge = JointJudge(embedding, device)

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        """(B,) float32."""
        return collect(lambda i, b: self._rate(pixels(i, SIDE), b), images, briefs, self.range)

    def tensor(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        """images (B, 3, H, W) in [-1, 1] -> (B,)."""
        check_tensor(images, briefs)
        return self._rate(images, briefs)

    def _rate(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        return (self.judge.images(images) * self.judge.texts([b.title for b in briefs])).sum(1)
