"""What every process does: end on a signal, and keep the garbage collector from stalling the work."""

import asyncio
import gc
import signal


def stopped() -> "asyncio.Future[None]":
    """Done at the first SIGTERM or SIGINT from now on."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not stop.done():
            stop.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    return stop


def quieten_collector() -> None:
    """Objects of start-up live as long as the process: without this every full collection walks them and stalls the work."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
