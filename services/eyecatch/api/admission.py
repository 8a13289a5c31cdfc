"""Budgets: how many calls of a kind run at a time. What is beyond is refused at once, so that no kind takes the place of another."""

import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc

from eyecatch.api import status
from eyecatch.core.errors import Overloaded
from eyecatch.observe.calls import CallTimes

Unary = Callable[[Any, Any], Awaitable[Any]]
Stream = Callable[[Any, Any], AsyncGenerator[Any]]
OK, CANCELLED, REFUSED = (
    code.name for code in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED)
)


@dataclass
class Budget:
    """At most `limit` calls at a time; `kind` is their name in refusals. Counters are all that a call costs."""

    kind: str
    limit: int
    running: int = 0

    def unary(self, call: Unary, times: CallTimes) -> Unary:
        async def admitted(request: Any, context: Any) -> Any:
            if self.running >= self.limit:
                await self._refuse(context, times)
            with _Running(self, context, times):
                return await call(request, context)

        return admitted

    def stream(self, call: Stream, times: CallTimes) -> Stream:
        async def admitted(request: Any, context: Any) -> AsyncGenerator[Any]:
            if self.running >= self.limit:
                await self._refuse(context, times)
            with _Running(self, context, times):
                async with aclosing(call(request, context)) as responses:
                    async for response in responses:
                        yield response

        return admitted

    async def _refuse(self, context: Any, times: CallTimes) -> None:
        """Waits differ, so that callers who were refused together do not come back together."""
        times.add(time.perf_counter(), REFUSED)
        wait_s = round(random.uniform(0.1, 1.0), 2)
        await status.abort(context, Overloaded(f"{self.limit} {self.kind} are running", wait_s))


class _Running:
    """Counts a call in its budget while it runs, and its time and status at its end."""

    __slots__ = ("_began", "_budget", "_context", "_times")

    def __init__(self, budget: Budget, context: Any, times: CallTimes) -> None:
        self._budget, self._context, self._times = budget, context, times

    def __enter__(self) -> None:
        self._budget.running += 1
        self._began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._budget.running -= 1
        self._times.add(self._began, OK if kind is None else _code(self._context))


def _code(context: Any) -> str:
    """Of a call that has failed: its status, or that it was cancelled before it had one."""
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) and code is not grpc.StatusCode.OK else CANCELLED
