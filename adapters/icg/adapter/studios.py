"""Studios: bare places with props and room for one product, which a denoiser draws like grounds. Knows no picture.

Each has a scale, so that a product of known height is as large as it would be beside the props.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

TALLEST, WIDEST = 0.62, 0.6
"""Most of the cover's edge that a product fills."""


INDOORS = 1.6
"""Metres from which on a product stands in the open; a lower one stays indoors however wide it is."""


class Studios(nn.Module):
    """`tokens` (M, D) take the place of an item. `spots` (count, 4): metres of the products that a studio is for, and a product's middle,
    foot and the length of a metre there, in shares of the edge."""

    def __init__(self, count: int, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.register_buffer("spots", torch.ones(count, 4))

    def choose(self, metres: float, aspect: float, seed: int) -> int:
        """One of the studios for a product `metres` high whose width is `aspect` of its height, by the larger of the two;
        the seed chooses among those of a size."""
        meant: Tensor = self.spots[:, 0]  # type: ignore[index]
        width = metres * aspect
        size = max(metres, width if metres >= INDOORS else min(width, INDOORS - 0.01))
        away = (meant.log() - math.log(size)).abs()
        best = torch.nonzero(away <= away.min() + 1e-4)[:, 0].tolist()
        return int(best[seed % len(best)])

    def place(self, studio: int, metres: float, aspect: float) -> list[float]:
        """Edge, x and y, as in a Place, of such a product in a studio: true to scale, if the cover has room for it."""
        _, x, foot, metre = self.spots[studio].tolist()  # type: ignore[index]
        height = min(metre * metres, TALLEST, WIDEST / aspect)
        return [height * max(1.0, aspect), x, foot - height / 2]
