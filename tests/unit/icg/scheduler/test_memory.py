"""Rows that fit, measured on this process with buffers of known size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from icg.errors import IcgError
from icg.scheduler.memory import SHARE, rows_that_fit

ROW = 48 * 2**20
"""More than malloc ever keeps for itself."""
CPU = torch.device("cpu")


def call(rows: int) -> None:
    np.ones(rows * ROW, np.uint8)  # as large a block goes back to the system at once


def test_rows_are_bounded_by_memory_and_by_the_limit() -> None:
    fit = rows_that_fit(call, 1000, CPU, free=int(20 * ROW / SHARE))
    assert 17 <= fit <= 22
    assert rows_that_fit(call, 6, CPU, free=int(20 * ROW / SHARE)) == 6
    assert rows_that_fit(call, 3, CPU) == 3


def test_a_row_that_does_not_fit_is_named() -> None:
    with pytest.raises(IcgError, match="memory free=1048576 bytes; allowed"):
        rows_that_fit(call, 8, CPU, free=2**20)
