"""The small aesthetic: how well made a cover is, by a head on picture statistics. Knows nothing about titles or users.

`icg.train.aesthetic.recipe` trained it to rank composed covers above damaged copies of themselves, without any person's judgement: it
detects blur, noise, bad exposure and the like, not beauty.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from icg.brief import Brief
from icg.checkpoints import check_device, load_module, save_module
from icg.errors import CheckpointError
from icg.rewards.base import PixelReward
from icg.rewards.statistics import NAMES, SIDE, statistics


class AestheticHead(nn.Module):
    """(B, F) statistics -> (B,) logits. Buffers standardise its input and output."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = hidden
        self.register_buffer("mean", torch.zeros(len(NAMES)))
        self.register_buffer("deviation", torch.ones(len(NAMES)))
        self.register_buffer("scale", torch.tensor([0.0, 1.0]))
        self.layers = nn.Sequential(nn.Linear(len(NAMES), hidden), nn.GELU(), nn.Linear(hidden, 1))

    def forward(self, measured: Tensor) -> Tensor:
        """Statistics saturate at ±4 deviations: a reward must not grow with inputs unlike its training data."""
        z = (measured - self.mean) / self.deviation
        raw = self.layers(4 * torch.tanh(z / 4))[:, 0]
        return (raw - self.scale[0]) / self.scale[1]

    def save_pretrained(self, folder: Path) -> None:
        """Write config.json and model.safetensors."""
        save_module(folder, {"statistics": NAMES, "hidden": self.hidden}, self)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> AestheticHead:
        """Read a folder of `save_pretrained`. CheckpointError if a file is missing, or widths or statistics differ."""

        def build(config: dict[str, Any]) -> AestheticHead:
            if tuple(config.get("statistics", ())) != NAMES:
                raise CheckpointError(f"aesthetic={str(folder)!r}: of other statistics; allowed: {', '.join(NAMES)}")
            return cls(int(config["hidden"]))

        return load_module("aesthetic", Path(folder), build).requires_grad_(False)


class SmallAesthetic(PixelReward):
    """How well made a cover is, in 0..1; 0.5 is the average of its training pictures, damaged ones included."""

    name = "aesthetic"
    range = (0.0, 1.0)
    side = SIDE

    def __init__(self, head: AestheticHead, device: str | torch.device = "cpu") -> None:
        self.device = check_device(device)
        self.head = head.to(self.device).eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> SmallAesthetic:
        """Read config.json and model.safetensors. Raises CheckpointError if a file is missing or does not match."""
        return cls(AestheticHead.from_pretrained(folder), device)

    def _rate(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        return torch.sigmoid(self.head(statistics(images.to(self.device))))
