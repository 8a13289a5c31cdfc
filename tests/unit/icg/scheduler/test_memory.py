"""Rows that fit, measured with buffers of known size on a process that does nothing else."""

import subprocess
import sys

import pytest
import torch
from icg.errors import IcgError
from icg.scheduler.memory import SHARE, rows_that_fit

ROW = 48 * 2**20
"""More than malloc ever keeps for itself."""
CPU = torch.device("cpu")
ALONE = f"""
import numpy, torch
from icg.scheduler.memory import rows_that_fit
for limit, free in ((1000, {int(20 * ROW / SHARE)}), (6, {int(20 * ROW / SHARE)}), (3, None)):
    print(rows_that_fit(lambda rows: numpy.ones(rows * {ROW}, numpy.uint8), limit, torch.device("cpu"), free))
"""


def test_rows_are_bounded_by_memory_and_by_the_limit() -> None:
    # Memory of other tests' threads would be counted as rows.
    output = subprocess.run(
        [sys.executable, "-c", ALONE], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    fit, limited, by_the_machine = map(int, output.split())
    assert 17 <= fit <= 22
    assert (limited, by_the_machine) == (6, 3)


def test_a_row_that_does_not_fit_is_named() -> None:
    with pytest.raises(IcgError, match="memory free=1048576 bytes; allowed"):
        rows_that_fit(lambda rows: torch.ones(rows * ROW, dtype=torch.uint8), 8, CPU, free=2**20)
