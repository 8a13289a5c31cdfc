"""The speed of a recipe: examples a second, and its share of the machine's peak matmul rate. Knows no model."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

SKIPPED = 3
"""Calls at the start that are not timed: kernels are selected and memory is allocated."""


class Speed:
    """Times from call SKIPPED on; call `count` before each batch with its number of examples."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.calls, self.examples, self.began, self.seconds = device, 0, 0, 0.0, 0.0
        self._before = 0

    def count(self, examples: int) -> None:
        """The previous batch is finished."""
        if self.calls == SKIPPED:
            self.began = self._now()
        if self.calls > SKIPPED:
            self.examples += self._before
        self.calls, self._before = self.calls + 1, examples

    def stop(self) -> None:
        """The last batch is finished."""
        if self.calls > SKIPPED:
            self.examples += self._before
            self.seconds = self._now() - self.began

    @property
    def rate(self) -> float:
        """Examples a second, including saves and samples; 0 for a run too short to time."""
        return self.examples / self.seconds if self.seconds else 0.0

    def save(self, folder: Path, operations: float, dtype: torch.dtype) -> None:
        """Print and write the speed, and its share of the peak with `operations` floating-point operations an example."""
        share = operations * self.rate / ceiling(self.device, dtype) if self.rate else 0.0
        speed = {"examples_per_second": round(self.rate, 2), "of_matmul_ceiling": round(share, 4)}
        (folder / "speed.json").write_text(json.dumps(speed))
        text = f"{self.rate:.1f} examples/s, {share:.2f} of the matmul ceiling" if self.rate else "too short to time"
        print(f"{folder.name}: {text}", file=sys.stderr)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic()


def flop_counter() -> FlopCounterMode:
    """Counts floating-point operations in its block, with those of gradients; multiplications and additions count as one each."""
    return FlopCounterMode(display=False)


def ceiling(device: torch.device, dtype: torch.dtype, side: int = 0, seconds: float = 0.3) -> float:
    """Peak operations a second of a product of two square matrices, the best of several in about `seconds`."""
    side = side or (8192 if device.type == "cuda" else 512)
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    speed, best, until = Speed(device), 0.0, time.monotonic() + seconds
    while time.monotonic() < until or not best:
        began = speed._now()
        for _ in range(4):
            a @ b
        best = max(best, 4 * 2 * side**3 / (speed._now() - began))
    return best
