"""Used by every process: the signal to stop, and the tuning of memory."""

import asyncio
import ctypes
import gc
import signal
from typing import Any

M_ARENA_MAX = -8
"""Of glibc's malloc.h."""


def share_memory() -> None:
    """Let all threads allocate from one arena. By default each has its own, which keeps what a burst of calls needed; with glibc only."""
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_ARENA_MAX, 1)


def stop_signal() -> "asyncio.Future[Any]":
    """A future that completes with the number of the first SIGTERM or SIGINT from now on."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[signal.Signals] = loop.create_future()

    def end(number: signal.Signals) -> None:
        if not stop.done():
            stop.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    return stop


def tune_garbage_collector() -> None:
    """Exclude the objects of start-up, which live as long as the process, from full collections, and collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
