"""How many rows one call may hold so that each comes out bit by bit as it would alone. Knows no request.

On a CPU the kernels of a matrix product are chosen by its shape, and not all add up in the same order. Measured on the starter, with
one and two threads, on an Intel and an AMD processor: only three things made rows depend on their batch. Products of vectors (time
embedding: its rows are the batch) go another way below 11 rows; convolutions in the plain layout treat a single picture apart; and
pointwise convolutions are blocked otherwise at 16 rows of one thread on the one, at every number of rows of two on the other. All three
are settled by `steady`; what other machines and models do, `Agreement` finds out by trying.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 8
"""Vectors in one product."""


def steady(module: nn.Module) -> None:
    """Make products of vectors in `module` take ROWS at a time and pointwise convolutions be products, channels last. No weight changes."""
    for part in module.modules():
        if type(part) is nn.Linear:
            part.forward = MethodType(_linear, part)  # type: ignore[method-assign]
        elif type(part) is nn.Conv2d and _pointwise(part):
            part.forward = MethodType(_product, part)  # type: ignore[method-assign]
    nn.Module.to(
        module, memory_format=torch.channels_last
    )  # diffusers' own `to` warns about types, which stay as they are


def _linear(self: nn.Linear, x: Tensor) -> Tensor:
    if x.ndim != 2:
        return F.linear(x, self.weight, self.bias)
    count = len(x)
    padded = F.pad(x, (0, 0, 0, -count % ROWS))
    return torch.cat([F.linear(part, self.weight, self.bias) for part in padded.split(ROWS)])[:count]


def _pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == conv.stride == (1, 1) and conv.groups == 1 and conv.padding in ((0, 0), "valid", "same")


def _product(self: nn.Conv2d, x: Tensor) -> Tensor:
    return F.linear(x.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)


class Agreement:
    """Splits n rows into calls whose sizes are proven, each when first needed, to give every row as a call of one does.

    `call` runs the model on a slice of fixed rows (at least `limit` of them): what kernels do depends on shapes, not on values.
    With `exact` false (on a GPU) every size up to `limit` is taken as it is.
    """

    def __init__(self, call: Callable[[slice], Tensor], limit: int, exact: bool = True) -> None:
        self._call, self.limit = call, max(1, limit)
        self._alone: list[Tensor] = []
        self._proven = {1} if exact else set(range(1, self.limit + 1))

    def parts(self, count: int) -> list[int]:
        """Sizes of the calls for `count` rows, as few and as even as may be."""
        while True:
            calls = -(-count // self.limit)
            sizes = [count // calls + (n < count % calls) for n in range(calls)]
            broken = [size for size in set(sizes) if not self._holds(size)]
            if not broken:
                return sizes
            self.limit = min(broken) - 1

    def _holds(self, size: int) -> bool:
        if size not in self._proven:
            self._alone += [self._call(slice(n, n + 1)) for n in range(len(self._alone), size)]
            if torch.equal(self._call(slice(0, size)), torch.cat(self._alone[:size])):
                self._proven.add(size)
        return size in self._proven
