"""LAION's aesthetic predictor: a linear or layered head on CLIP ViT-L/14 image features. Knows no titles or users.

The public heads are pickles (`sac+logos+ava1-l14-linearMSE.pth`, `sa_0_4_vit_l_14_linear.pth`); they are refused with
the command that converts them. The layers of the larger head have no non-linearity between them, and neither have ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from icg.brief import Brief
from icg.errors import CheckpointError
from icg.rewards.base import PixelReward
from icg.rewards.clip import Clip
from icg.rewards.folders import frozen, read_weights

HEAD = "aesthetic.safetensors"
"""The head's file in the CLIP folder, used if no other is named."""


class LaionAesthetic(PixelReward):
    """How people would rate the picture, in 1..10 like its training ratings; values outside are clipped."""

    name = "aesthetic"
    range = (1.0, 10.0)

    def __init__(self, clip: Clip, head: nn.Module) -> None:
        self.clip, self.head = clip, frozen(head).to(clip.device)
        self._pictures, self._pixels = clip.pictures, clip.pixels

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu", head: str | Path | None = None, **options: Any
    ) -> LaionAesthetic:
        """`folder`: CLIP ViT-L/14; `head`: a .safetensors file. Raises CheckpointError if their widths differ."""
        layers = layers_of(read_weights("head", Path(folder) / HEAD if head is None else head))
        clip = Clip.from_pretrained(folder, device, **options)
        width, expected = clip.model.config.projection_dim, layers[0].in_features
        if width != expected:
            raise CheckpointError(f"head for {expected} features on a CLIP of {width}; allowed: equal widths")
        return cls(clip, layers)

    def _rate(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        return self.head(images)[:, 0]


def layers_of(weights: dict[str, Tensor]) -> nn.Sequential:
    """{"layers.0.weight", ...} or {"weight", "bias"} -> linear layers; the last has width 1. Dropout leaves gaps in the numbers."""
    numbers = sorted({int(m[1]) for k in weights if (m := re.fullmatch(r"layers\.(\d+)\.weight", k))})
    names = [f"layers.{n}." for n in numbers] or [""]
    expected = {f"{n}{part}" for n in names for part in ("weight", "bias")}
    if set(weights) != expected or any(weights[f"{n}weight"].ndim != 2 for n in names):
        raise CheckpointError(f"head with {sorted(weights)}; allowed: layers.N.weight and .bias, or weight and bias")
    layers = []
    for name in names:
        weight, bias = weights[f"{name}weight"], weights[f"{name}bias"]
        if layers and layers[-1].out_features != weight.shape[1]:
            raise CheckpointError(f"head's {name}weight {tuple(weight.shape)}; allowed: (…, {layers[-1].out_features})")
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers.append(layer)
    if layers[-1].out_features != 1:
        raise CheckpointError(f"head ends {layers[-1].out_features} wide; allowed: 1")
    return nn.Sequential(*layers)
