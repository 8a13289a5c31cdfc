"""EfficientNet-Lite (arXiv:1905.11946 without squeeze-and-excitation): a small image trunk that was trained on photographs.

Pre-trained on ImageNet by Google (Apache-2.0); its batch norms are folded into the convolutions. Features only, no classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = 1280
"""Channels of the last layer."""
STAGES = ((3, 1, 1, 16), (3, 2, 6, 24), (5, 2, 6, 40), (3, 2, 6, 80), (5, 1, 6, 112), (5, 2, 6, 192), (3, 1, 6, 320))
"""Kernel, stride, expansion and channels of each stage."""
LITE0, LITE1 = (1, 2, 2, 3, 3, 4, 1), (1, 3, 3, 4, 4, 5, 1)
"""Blocks of each stage: 3.4 and 4.1 million weights."""
_RUNS: ContextVar[list[tuple[Trunk, Tensor, list[Tensor]]] | None] = ContextVar("runs", default=None)
"""Within `one_pass`: trunks, the pixels they ran on, and their maps."""
LOOKS = (*(stage[3] for stage in STAGES for _ in range(2)), FEATURES)
"""Widths of the parts of `Trunk.looks`."""


class Conv(nn.Conv2d):
    """Padded as in TensorFlow, as the weights were trained: of an odd sum, the larger part is on the right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', ceil(h / stride), ceil(w / stride))."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        down, right = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:])
        if down % 2 or right % 2:  # F.pad copies
            x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
            down = right = 0
        return F.conv2d(x, self.weight, self.bias, self.stride, (down // 2, right // 2), groups=self.groups)


def _relu6(x: Tensor) -> Tensor:
    return x.clamp(0, 6) if torch.is_grad_enabled() else x.clamp_(0, 6)


class Block(nn.Module):
    """Inverted residual (arXiv:1801.04381): a pointwise, a depthwise and a pointwise convolution."""

    def __init__(self, kernel: int, stride: int, expansion: int, enter: int, leave: int) -> None:
        super().__init__()
        wide = enter * expansion
        self.widen = Conv(enter, wide, 1) if expansion > 1 else nn.Identity()
        self.around = Conv(wide, wide, kernel, stride, groups=wide)
        self.narrow = Conv(wide, leave, 1)
        self.residual = stride == 1 and enter == leave

    def forward(self, x: Tensor) -> Tensor:
        """(B, enter, h, w) -> (B, leave, h / stride, w / stride)."""
        wide = _relu6(self.widen(x)) if isinstance(self.widen, Conv) else x
        out = self.narrow(_relu6(self.around(wide)))
        return x + out if self.residual else out


class Trunk(nn.Module):
    """Images to features. `repeats`: blocks in each stage."""

    def __init__(self, repeats: Sequence[int] = LITE0) -> None:
        super().__init__()
        self.stem, blocks, enter = Conv(3, 32, 3, 2), [], 32
        self.ends = [sum(repeats[: n + 1]) - 1 for n in range(len(repeats))]
        for (kernel, stride, expansion, leave), count in zip(STAGES, repeats, strict=True):
            for n in range(count):
                blocks.append(Block(kernel, stride if n == 0 else 1, expansion, enter, leave))
                enter = leave
        self.blocks = nn.Sequential(*blocks)
        self.head = Conv(enter, FEATURES, 1)
        self.to(memory_format=torch.channels_last)  # a quarter less time on a CPU

    def outputs(self, pixels: Tensor, last: int | None = None) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> the maps of each block, up to block `last`, or of all and the head. Kept within `one_pass`."""
        runs = None if torch.is_grad_enabled() else _RUNS.get()
        for trunk, known, maps in runs or ():
            if trunk is self and known.shape == pixels.shape and torch.equal(known, pixels):
                return maps
        x, maps = _relu6(self.stem(pixels)), []
        for block in self.blocks if runs is not None or last is None else self.blocks[: last + 1]:
            x = block(x)
            maps.append(x)
        if runs is not None or last is None:
            maps.append(_relu6(self.head(x)))
        if runs is not None:
            runs.append((self, pixels, maps))
        return maps

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, 2 * 1280): mean and maximum over positions."""
        x = self.outputs(pixels)[-1]
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], -1)

    def looks(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, sum(LOOKS)): mean and deviation over positions of each stage, mean of the last layer.

        Early stages have colour and texture, late ones what is shown; taste in covers is in both.
        """
        maps, parts = self.outputs(pixels), []
        for end in self.ends:
            mean = maps[end].mean((2, 3), keepdim=True)
            # Tensor.var takes six times as long on a CPU.
            parts += [mean[..., 0, 0], ((maps[end] - mean).square().mean((2, 3)) + 1e-6).sqrt()]
        return torch.cat([*parts, maps[-1].mean((2, 3))], -1)


@contextmanager
def one_pass() -> Iterator[None]:
    """Within it a trunk runs once on equal pixels, for all judges of the same pictures. Without gradients only; for one batch."""
    token = _RUNS.set([])
    try:
        yield
    finally:
        _RUNS.reset(token)


def shared(trunk: Trunk, other: Trunk) -> Trunk:
    """`other` if it has the weights of `trunk`, else `trunk`: weights are in memory once, and `one_pass` is one for both."""
    mine, others = trunk.state_dict(), other.state_dict()
    if mine.keys() != others.keys():
        return trunk
    return other if all(torch.equal(value, others[name]) for name, value in mine.items()) else trunk
