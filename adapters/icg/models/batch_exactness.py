"""How many rows one call may hold so that every row equals, bit by bit, the result of a call with this row alone.

On a CPU the shape of a matrix product selects its kernel, and kernels add in different orders. Measured on the starter with one and
two threads, on an Intel and an AMD processor, three operations make a row depend on its batch: products with vectors (time embedding:
its rows are the batch) use another kernel below 11 rows; convolutions in the contiguous layout treat a single image differently; and
pointwise convolutions change their blocking at 16 rows on one thread (Intel) or at every number of rows on two threads (AMD). `steady`
removes all three. `Agreement` tests other machines and models by running them. Knows no request.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 8
"""Rows of one product with vectors."""


def steady(module: nn.Module) -> None:
    """Run products with vectors ROWS rows at a time and pointwise convolutions as products, channels last. Keeps all weights."""
    for part in module.modules():
        if type(part) is nn.Linear:
            part.forward = MethodType(_linear, part)  # type: ignore[method-assign]
        elif type(part) is nn.Conv2d and _pointwise(part):
            part.forward = MethodType(_conv_as_linear, part)  # type: ignore[method-assign]
    # diffusers' own `to` warns about dtypes, which do not change here.
    nn.Module.to(module, memory_format=torch.channels_last)


def _linear(self: nn.Linear, x: Tensor) -> Tensor:
    if x.ndim != 2:
        return F.linear(x, self.weight, self.bias)
    count = len(x)
    padded = F.pad(x, (0, 0, 0, -count % ROWS))
    return torch.cat([F.linear(part, self.weight, self.bias) for part in padded.split(ROWS)])[:count]


def _pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == conv.stride == (1, 1) and conv.groups == 1 and conv.padding in ((0, 0), "valid", "same")


def _conv_as_linear(self: nn.Conv2d, x: Tensor) -> Tensor:
    return F.linear(x.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)


class Agreement:
    """Splits n rows into calls of sizes that give every row the result of a call of one. Each size is tested when first needed.

    `call` runs the model on a slice of fixed rows, at least `limit` of them: the choice of a kernel depends on shapes, not on values.
    exact: False (on a GPU) accepts every size up to `limit` untested.
    """

    def __init__(self, call: Callable[[slice], Tensor], limit: int, exact: bool = True) -> None:
        self._call, self.limit = call, max(1, limit)
        self._alone: list[Tensor] = []
        self._exact_sizes = {1} if exact else set(range(1, self.limit + 1))

    def parts(self, count: int) -> list[int]:
        """Sizes of the calls for `count` rows: as few calls as possible, of sizes as equal as possible."""
        while True:
            calls = -(-count // self.limit)
            sizes = [count // calls + (n < count % calls) for n in range(calls)]
            broken = [size for size in set(sizes) if not self._is_exact(size)]
            if not broken:
                return sizes
            self.limit = min(broken) - 1

    def _is_exact(self, size: int) -> bool:
        if size not in self._exact_sizes:
            self._alone += [self._call(slice(n, n + 1)) for n in range(len(self._alone), size)]
            if torch.equal(self._call(slice(0, size)), torch.cat(self._alone[:size])):
                self._exact_sizes.add(size)
        return size in self._exact_sizes
