"""Relevance: does the cover show what the title says? The joint embedding's cosine. Knows nothing about users."""

from __future__ import annotations

import numpy as np
from PIL import Image

from icg.brief import Brief
from icg.embedding import JointEmbedding
from icg.rewards.base import check_pairs


class Relevance:
    """Cosine of cover and title in the joint space, in -1..1."""

    name = "relevance"
    range = (-1.0, 1.0)

    def __init__(self, embedding: JointEmbedding) -> None:
        self.embedding = embedding

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        """(B,) float32."""
        check_pairs(images, briefs)
        cosine = (self.embedding.images(images) * self.embedding.texts([b.title for b in briefs])).sum(1)
        return np.clip(cosine, *self.range).astype(np.float32)
