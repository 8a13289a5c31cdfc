"""U2-Net, the small variant (U2NETP, arXiv:2005.09007): where the subject of a picture is. Knows no covers.

The batch norms of the published weights are folded into their convolutions, as an inference engine leaves them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from icg.checkpoints import load_module

SIDE = 224
"""Edge in pixels of the network's input; pictures are squeezed into it. At the 320 of its training a picture takes three times as long."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels of its training pictures."""
INNER, OUTER = 16, 64
"""Channels inside a block and between blocks."""
DEPTHS = (7, 6, 5, 4, 0, 0)
"""Levels of the block of each encoder stage, 0 for a dilated one (RSU-4F)."""
FOLDER = Path(__file__).parent / "u2netp"


class Conv(nn.Conv2d):
    """3x3 convolution that keeps the size, then ReLU."""

    def __init__(self, enter: int, leave: int, dilation: int = 1) -> None:
        super().__init__(enter, leave, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, enter, h, w) -> (B, leave, h, w)."""
        return F.relu(super().forward(x))


class Residual(nn.Module):
    """RSU block (section 3.1): a small U-Net of `depth` levels, added to its input; depth 0: dilations 1, 2, 4, 8 instead of pooling."""

    def __init__(self, enter: int, depth: int) -> None:
        super().__init__()
        self.pooled = depth > 0
        down = [1] * (depth - 1) + [2] if depth else [1, 2, 4, 8]
        up = [1] * (depth - 1) if depth else [4, 2, 1]
        self.enter = Conv(enter, OUTER)
        self.down = nn.ModuleList(Conv(OUTER if n == 0 else INNER, INNER, d) for n, d in enumerate(down))
        self.up = nn.ModuleList(Conv(2 * INNER, OUTER if n == len(up) - 1 else INNER, d) for n, d in enumerate(up))

    def forward(self, x: Tensor) -> Tensor:
        """(B, enter, h, w) -> (B, 64, h, w)."""
        entry = self.enter(x)
        levels = [self.down[0](entry)]
        for n, conv in enumerate(self.down[1:], 1):
            pools = self.pooled and n < len(self.down) - 1
            levels.append(conv(_halved(levels[-1]) if pools else levels[-1]))
        out = levels.pop()
        for conv in self.up:
            level = levels.pop()
            out = conv(torch.cat([_as(out, level), level], 1))
        return out + entry


class Saliency(nn.Module):
    """Pictures -> the share of each pixel that belongs to the subject."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(Residual(3 if n == 0 else OUTER, depth) for n, depth in enumerate(DEPTHS))
        self.decoder = nn.ModuleList(Residual(2 * OUTER, depth) for depth in DEPTHS[4::-1])
        self.side = nn.ModuleList(nn.Conv2d(OUTER, 1, 3, padding=1) for _ in DEPTHS)
        self.out = nn.Conv2d(len(DEPTHS), 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w), normalised -> (B, h, w) in 0..1."""
        levels = [self.encoder[0](x)]
        for stage in self.encoder[1:]:
            levels.append(stage(_halved(levels[-1])))
        out = levels.pop()
        maps = [out]
        for stage in self.decoder:
            level = levels.pop()
            out = stage(torch.cat([_as(out, level), level], 1))
            maps.append(out)
        sides = [_as(conv(h), x) for conv, h in zip(self.side, maps[::-1], strict=True)]
        return torch.sigmoid(self.out(torch.cat(sides, 1)))[:, 0]


@lru_cache(1)
def load() -> Saliency:
    """The shipped weights, frozen. Raises CheckpointError if their files are missing or broken."""
    module = load_module("saliency", FOLDER, lambda config: Saliency()).requires_grad_(False)
    return module.to(memory_format=torch.channels_last)  # a third less time on a CPU


@torch.inference_mode()
def saliency(picture: Image.Image) -> np.ndarray:
    """(SIDE, SIDE) float32 in 0..1 for a picture of any size: the share of the subject, as in the published inference code."""
    small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    values = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).float()
    values = values / values.max().clamp(min=1)
    mean, deviation = (torch.tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
    rows = ((values - mean) / deviation)[None].contiguous(memory_format=torch.channels_last)
    result: np.ndarray = load()(rows)[0].numpy()
    return result


def _halved(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def _as(x: Tensor, other: Tensor) -> Tensor:
    return (
        F.interpolate(x, other.shape[2:], mode="bilinear", align_corners=False) if x.shape[2:] != other.shape[2:] else x
    )
