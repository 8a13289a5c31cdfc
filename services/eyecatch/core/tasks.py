"""The end of background tasks."""

import asyncio
from typing import Any

AGAIN_S = 0.1


async def cancel(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks until all have ended, and ignore their errors.

    One cancellation is not enough: it gets lost if it comes together with an answer of Redis. Not for tasks with work to do after it.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
