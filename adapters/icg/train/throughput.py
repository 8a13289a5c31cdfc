"""How fast a recipe trains: images a second, and which share of what the machine's matrix units can do. Knows no model."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

SKIPPED = 3
"""Calls at the start that are not timed: kernels are chosen, memory is taken."""


class Speed:
    """Timed from call SKIPPED on; `count` is called before each batch with its number of images."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.calls, self.images, self.began, self.seconds = device, 0, 0, 0.0, 0.0
        self._before = 0

    def count(self, images: int) -> None:
        """The batch before this one is done."""
        if self.calls == SKIPPED:
            self.began = self._now()
        if self.calls > SKIPPED:
            self.images += self._before
        self.calls, self._before = self.calls + 1, images

    def stop(self) -> None:
        """All is done."""
        if self.calls > SKIPPED:
            self.images += self._before
            self.seconds = self._now() - self.began

    @property
    def rate(self) -> float:
        """Images a second, saves and looks at samples included; 0 for a run too short to time."""
        return self.images / self.seconds if self.seconds else 0.0

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic()


def flops(loss: Callable[[], Tensor]) -> int:
    """Floating-point operations of a loss and its gradients, multiplications and additions each counted as one."""
    with FlopCounterMode(display=False) as counter:
        loss().backward()
    return int(counter.get_total_flops())


def ceiling(device: torch.device, dtype: torch.dtype, side: int = 0, seconds: float = 0.3) -> float:
    """Operations a second of the product of two square matrices, the best of some for about `seconds`."""
    side = side or (8192 if device.type == "cuda" else 512)
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    speed, best, until = Speed(device), 0.0, time.monotonic() + seconds
    while time.monotonic() < until or not best:
        began = speed._now()
        for _ in range(4):
            a @ b
        best = max(best, 4 * 2 * side**3 / (speed._now() - began))
    return best
