"""Reliability: the probability that a cover shows its product correctly (arXiv:2408.00418). See icg.reliability.judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icg.brief import Brief
from icg.checkpoints import check_device
from icg.errors import IcgError
from icg.reliability.judge import Judge, judgements, product_pixels
from icg.rewards.base import check_pairs, check_tensor


class Reliability:
    """p(available), in 0..1. NaN for briefs without an inpainted scene, which the judge was not trained on."""

    name = "reliability"
    range = (0.0, 1.0)

    def __init__(self, judge: Judge, device: str | torch.device = "cpu") -> None:
        self.device = check_device(device)
        self.judge = judge.to(self.device).eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> Reliability:
        """Load a judge's folder. Raises CheckpointError if something is missing or out of range."""
        return cls(Judge.from_pretrained(folder), device)

    def __call__(self, images: list[Image.Image], briefs: list[Brief]) -> np.ndarray:
        """(B,) float32."""
        check_pairs(images, briefs)
        results = judgements(self.judge, images, briefs)
        return np.array([np.nan if judgement is None else judgement.score for judgement in results], np.float32)

    def tensor(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        """images (B, 3, H, W) in [-1, 1] -> (B,). IcgError for a brief without an inpainted scene."""
        check_tensor(images, briefs)
        cut = [b.product for b in briefs if b.inpaint and b.product is not None]
        if len(cut) != len(briefs):
            others = len(briefs) - len(cut)
            raise IcgError(
                f"inpaint=False in {others} of {len(briefs)} briefs; allowed: a scene around a product in each"
            )
        products = torch.stack([product_pixels(product, self.judge.rfnet.config.side) for product in cut])
        logits = self.judge.tensor(images.to(self.device), products.to(self.device), [b.title for b in briefs])
        return logits.softmax(-1)[:, 0]
