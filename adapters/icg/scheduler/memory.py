"""How many rows one denoiser call may have in the free memory, from the peaks of two measured calls. Knows no request."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import torch

from icg.errors import IcgError

SHARE = 0.8
"""Fraction of the free memory that a call may take; the rest is for readings, decoding and other processes."""
FEW, MORE = 1, 5
CGROUP = Path("/sys/fs/cgroup")


def rows_that_fit(call: Callable[[int], object], limit: int, device: torch.device, free: int | None = None) -> int:
    """At most `limit` rows; `call(n)` runs the model on n of them. `free` bytes, by default what the device or this process may take.

    Raises IcgError where not even one row fits.
    """
    call(FEW)  # workspaces and thread pools are allocated once and belong to no row
    few, more = (_peak(call, n, device) for n in (FEW, MORE))
    row = max(1, (more - few) // (MORE - FEW))
    few = max(few, FEW * row)  # the allocator may have reused what an earlier call freed
    free = _free(device) if free is None else free
    fit = FEW + int((free * SHARE - few) // row)
    if fit < 1:
        raise IcgError(f"memory free={free} bytes; allowed: {int(few / SHARE)} at least, for one row of {row} bytes")
    return min(limit, fit)


def _peak(call: Callable[[int], object], rows: int, device: torch.device) -> int:
    """Bytes that a call of `rows` allocates at its peak."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call(rows)
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    # Without Linux's counters only memory that the process does not give back is measured.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets the kernel's high-water mark
    before = _resident("VmRSS")
    call(rows)
    return max(0, _resident("VmHWM") - before)


def _resident(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        # Blocks that the allocator holds back are free for us.
        return (
            torch.cuda.mem_get_info(device)[0]
            + torch.cuda.memory_reserved(device)
            - torch.cuda.memory_allocated(device)
        )
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if limit.is_file() and used.is_file() and (stated := limit.read_text().strip()) != "max":
        return min(pages, int(stated) - int(used.read_text()))
    return pages
