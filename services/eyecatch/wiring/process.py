"""Used by every process: the signal to stop, and the tuning of the garbage collector."""

import asyncio
import gc
import signal
from typing import Any


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
