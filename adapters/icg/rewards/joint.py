"""The starter's joint embedding, differentiable on any device, as the base of rewards. Knows no particular reward."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from icg.checkpoints import check_device
from icg.models import dual
from icg.models.joint import JointEmbedding
from icg.rewards.base import PixelReward, resized


class JointJudge:
    """Pixels (B, 3, H, W) in [-1, 1] -> unit rows (B, 64).

    On the CPU without gradients it uses the embedding's own weights; otherwise a frozen copy, created at its first use, so that
    back-propagation changes nothing in weights that a pipeline shares.
    """

    def __init__(self, embedding: JointEmbedding, device: str | torch.device = "cpu") -> None:
        self.embedding, self.device = embedding, check_device(device)
        self._frozen: tuple[Any, Any] | None = None

    def images(self, pixels: Tensor) -> Tensor:
        """Embeddings in the space shared with titles."""
        return self._parts()[1].images(resized(pixels.to(self.device), dual.SIDE))

    def covers(self, pixels: Tensor) -> Tensor:
        """Embeddings in the space shared with users."""
        space = self._parts()[0]
        return space.covers(space.features(resized(pixels.to(self.device), space.side)))

    def texts(self, titles: Sequence[str]) -> Tensor:
        """(B, 64) on the device, without gradients."""
        return torch.from_numpy(self.embedding.texts(list(titles)).copy()).to(self.device)

    def _parts(self) -> tuple[Any, Any]:
        parts = (self.embedding.space, self.embedding.dual)
        if self.device.type == "cpu" and not torch.is_grad_enabled():
            return parts
        if self._frozen is None:
            self._frozen = copy.deepcopy(parts)
            for part in self._frozen:
                part.to(self.device).eval().requires_grad_(False)
        return self._frozen


class JointReward(PixelReward):
    """A reward on covers of `side` pixels through the joint embedding; a subclass defines `_rate`."""

    range = (-1.0, 1.0)
    side = dual.SIDE

    def __init__(self, embedding: JointEmbedding, device: str | torch.device = "cpu") -> None:
        self.judge = JointJudge(embedding, device)
