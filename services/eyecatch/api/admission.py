"""Budgets: how many calls of a kind run at a time. What is beyond is refused at once, so that no kind takes the place of another."""

import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from eyecatch.api import status
from eyecatch.core.errors import Overloaded

Unary = Callable[[Any, Any], Awaitable[Any]]
Stream = Callable[[Any, Any], AsyncGenerator[Any]]


@dataclass
class Budget:
    """At most `limit` calls at a time; `kind` is their name in refusals. A counter is all that a call costs."""

    kind: str
    limit: int
    running: int = 0

    def refusal(self) -> Overloaded:
        """Of a call beyond the limit. Waits differ, so that callers who were refused together do not come back together."""
        return Overloaded(f"{self.limit} {self.kind} are running", round(random.uniform(0.1, 1.0), 2))

    def unary(self, call: Unary) -> Unary:
        async def admitted(request: Any, context: Any) -> Any:
            if self.running >= self.limit:
                await status.abort(context, self.refusal())
            self.running += 1
            try:
                return await call(request, context)
            finally:
                self.running -= 1

        return admitted

    def stream(self, call: Stream) -> Stream:
        async def admitted(request: Any, context: Any) -> AsyncGenerator[Any]:
            if self.running >= self.limit:
                await status.abort(context, self.refusal())
            self.running += 1
            try:
                async with aclosing(call(request, context)) as responses:
                    async for response in responses:
                        yield response
            finally:
                self.running -= 1

        return admitted
