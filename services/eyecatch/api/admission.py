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

    def refusal(self) -> Overloaded:
        """Of a call beyond the limit. Waits differ, so that callers who were refused together do not come back together."""
        return Overloaded(f"{self.limit} {self.kind} are running", round(random.uniform(0.1, 1.0), 2))

    def unary(self, call: Unary, times: CallTimes) -> Unary:
        async def admitted(request: Any, context: Any) -> Any:
            began = time.perf_counter()
            if self.running >= self.limit:
                times.add(began, REFUSED)
                await status.abort(context, self.refusal())
            self.running += 1
            try:
                answer = await call(request, context)
            except BaseException:
                times.add(began, _code(context))
                raise
            finally:
                self.running -= 1
            times.add(began, OK)
            return answer

        return admitted

    def stream(self, call: Stream, times: CallTimes) -> Stream:
        async def admitted(request: Any, context: Any) -> AsyncGenerator[Any]:
            began = time.perf_counter()
            if self.running >= self.limit:
                times.add(began, REFUSED)
                await status.abort(context, self.refusal())
            self.running += 1
            try:
                async with aclosing(call(request, context)) as responses:
                    async for response in responses:
                        yield response
            except BaseException:
                times.add(began, _code(context))
                raise
            finally:
                self.running -= 1
            times.add(began, OK)

        return admitted


def _code(context: Any) -> str:
    """Of a call that has failed: its status, or that it was cancelled before it had one."""
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) and code is not grpc.StatusCode.OK else CANCELLED
