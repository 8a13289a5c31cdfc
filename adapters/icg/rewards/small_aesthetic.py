"""The small aesthetic: how well made a cover is, by a head on the shipped trunk and on picture statistics. Knows no titles and no users.

`icg.train.aesthetic.recipe` trained it to rank composed covers and photographs above damaged copies of themselves, without any person's
judgement: it detects blur, noise, bad exposure, thumbnails on empty ground and the like, not beauty.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from icg.brief import Brief
from icg.checkpoints import SHIPPED, check_device, load_module, save_module
from icg.errors import CheckpointError
from icg.models.dual import DualEncoder
from icg.models.trunk import LOOKS, Trunk
from icg.rewards.base import PixelReward
from icg.rewards.statistics import NAMES, SIDE, statistics

WIDTH = len(NAMES) + sum(LOOKS)
DROPOUT = 0.3


class AestheticHead(nn.Module):
    """(B, WIDTH) measurements -> (B,) logits. Buffers standardise its input and output."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = hidden
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("deviation", torch.ones(WIDTH))
        self.register_buffer("scale", torch.tensor([0.0, 1.0]))
        self.layers = nn.Sequential(
            nn.Dropout(DROPOUT), nn.Linear(WIDTH, hidden), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(hidden, 1)
        )

    def forward(self, measured: Tensor) -> Tensor:
        """Measurements saturate at ±4 deviations: a reward must not grow with inputs unlike its training data."""
        z = (measured - self.mean) / self.deviation
        raw = self.layers(4 * torch.tanh(z / 4))[:, 0]
        return (raw - self.scale[0]) / self.scale[1]

    def save_pretrained(self, folder: Path) -> None:
        """Write config.json and model.safetensors."""
        save_module(folder, {"statistics": NAMES, "looks": LOOKS, "hidden": self.hidden}, self, torch.float16)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> AestheticHead:
        """Read a folder of `save_pretrained`. CheckpointError if a file is missing, or widths or statistics differ."""

        def build(config: dict[str, Any]) -> AestheticHead:
            if tuple(config.get("statistics", ())) != NAMES or tuple(config.get("looks", ())) != LOOKS:
                raise CheckpointError(
                    f"aesthetic={str(folder)!r}: of other statistics; allowed: {', '.join(NAMES)} and the trunk's"
                )
            return cls(int(config["hidden"]))

        return load_module("aesthetic", Path(folder), build).requires_grad_(False)


class SmallAesthetic(PixelReward):
    """How well made a cover is, in 0..1; 0.5 is the average of its training pictures, damaged ones included."""

    name = "aesthetic"
    range = (0.0, 1.0)
    side = SIDE

    def __init__(self, head: AestheticHead, trunk: Trunk, device: str | torch.device = "cpu") -> None:
        self.device = check_device(device)
        self.head = head.to(self.device).eval().requires_grad_(False)
        self.trunk = (trunk if self.device.type == "cpu" else copy.deepcopy(trunk)).to(self.device).eval()
        self.trunk.requires_grad_(False)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu", trunk: Trunk | None = None
    ) -> SmallAesthetic:
        """Read config.json and model.safetensors. trunk: the shipped one if it is loaded already. Raises CheckpointError if a file is
        missing or does not match."""
        head = AestheticHead.from_pretrained(folder)
        return cls(head, trunk or DualEncoder.from_pretrained(SHIPPED / "dual").trunk, device)

    def _rate(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        return torch.sigmoid(self.head(measure(images.to(self.device), self.trunk)))


def measure(images: Tensor, trunk: Trunk) -> Tensor:
    """images (B, 3, 128, 128) in [-1, 1] -> (B, WIDTH): statistics beside the trunk's looks."""
    return torch.cat([statistics(images), trunk.looks(images)], 1)
