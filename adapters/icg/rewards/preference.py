"""Preference: would this user like the cover? Cosine of user and cover embedding. Knows nothing about titles."""

from __future__ import annotations

import numpy as np
from PIL import Image

from icg.brief import Brief
from icg.embedding import JointEmbedding
from icg.rewards.base import check_pairs


class Preference:
    """Dot product of the unit cover embedding with the user embedding, in -1..1; 0 for a cold user."""

    name = "preference"
    range = (-1.0, 1.0)

    def __init__(self, embedding: JointEmbedding) -> None:
        self.embedding = embedding

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        """(B,) float32."""
        check_pairs(images, briefs)
        covers = self.embedding.covers(images)
        users = [
            np.zeros(covers.shape[1], np.float32) if b.user_embedding is None else b.user_embedding for b in briefs
        ]
        return np.clip((covers * np.array(users).reshape(covers.shape)).sum(1), *self.range).astype(np.float32)
