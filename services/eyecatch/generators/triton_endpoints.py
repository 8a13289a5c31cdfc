"""Triton servers to choose from: which answer, which work, which has least to do. Knows no brief."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import structlog
from tritonclient.grpc.aio import InferenceServerClient

from eyecatch.core.backoff import Backoff
from eyecatch.core.errors import InvalidInput, NotFound, NotReady, Unavailable
from eyecatch.generators.triton_wire import Busy

log = structlog.get_logger(__name__)

FAILURES = 3
"""In a row, after which a server gets a pause."""
PAUSE = Backoff(1.0, 30.0, jitter=0.0)
"""Its length; each failed trial after a pause is an attempt."""
MISSES = 2
"""Pings without an answer, in a row, after which a server counts as unreachable. One may be lost on a busy machine."""
PING_S = 2.0
"""Seconds that a ping waits."""
CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 256 << 20),
    # gRPC's own waits grow to two minutes: a restarted server would be noticed that late.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class Breaker:
    """Closed while requests are answered; open for a pause after FAILURES in a row; then one trial decides."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._failures, self._until, self._trial = clock, 0, 0.0, False

    @property
    def open(self) -> bool:
        """Whether it keeps requests away, except for one trial after the pause."""
        return self._failures >= FAILURES

    @property
    def wait_s(self) -> float:
        """Seconds until the next trial."""
        return max(0.0, self._until - self._clock()) if self.open else 0.0

    def allows(self) -> bool:
        return not self.open or (not self._trial and self.wait_s == 0)

    def begin(self) -> None:
        self._trial = self.open

    def worked(self) -> None:
        self._failures, self._trial = 0, False

    def undecided(self) -> None:
        """The request taught nothing: the caller went away, or there was no room."""
        self._trial = False

    def failed(self) -> None:
        self._failures += 1
        if self.open:
            self._until = self._clock() + PAUSE(self._failures - FAILURES)
        self._trial = False


class Endpoint:
    """One server: its client, the number of our requests at work there, and `ended`, the others by outcome."""

    def __init__(self, address: str) -> None:
        self.address, self.client = address, InferenceServerClient(address, channel_args=CHANNEL)
        self.breaker, self.there, self.outstanding = Breaker(), True, 0
        self.ended: Counter[str] = Counter()
        self.seconds = 0.0
        self._misses = 0
        self._calls: set[Any] = set()

    @property
    def available(self) -> bool:
        return self.there and self.breaker.allows()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count one request, and report its outcome to the breaker."""
        began, outcome = time.monotonic(), "cancelled"
        self.outstanding += 1
        self.breaker.begin()
        try:
            yield
            outcome = "done"
        except (InvalidInput, NotFound, NotReady):
            outcome = "refused"
            raise
        except Busy:
            outcome = "busy"
            raise
        except Unavailable:
            outcome = "failed"
            raise
        finally:
            self.outstanding -= 1
            self.ended[outcome] += 1
            self.seconds += time.monotonic() - began
            verdict = {"done": self.breaker.worked, "refused": self.breaker.worked, "failed": self.breaker.failed}
            was_open = self.breaker.open
            verdict.get(outcome, self.breaker.undecided)()
            if self.breaker.open != was_open:
                log.warning("triton_breaker", endpoint=self.address, open=self.breaker.open)

    @contextmanager
    def calling(self, call: Any) -> Iterator[None]:
        """Cancel the call on leaving, and as soon as the server is unreachable."""
        self._calls.add(call)
        try:
            yield
        finally:
            self._calls.discard(call)
            call.cancel()

    async def alive(self, model: str, within_s: float) -> bool:
        """Whether the model's own process answers: Triton calls a model ready even if its process was killed."""
        stream = self.client.stream_infer(_ping(model), stream_timeout=within_s)
        try:
            async for _, error in stream:
                return error is None
        except grpc.aio.AioRpcError:
            pass
        finally:
            stream.cancel()
        return False

    async def watch(self, model: str, every_s: float) -> None:
        """Ping until cancelled: a silent server is noticed long before the deadlines of its requests."""
        while True:
            self._misses = 0 if await self.alive(model, PING_S) else self._misses + 1
            if self.there != (self._misses < MISSES):
                self.there = not self.there
                log.warning("triton_endpoint", endpoint=self.address, there=self.there)
            if not self.there:
                for call in list(self._calls):
                    call.cancel()
            await asyncio.sleep(every_s)


async def _ping(model: str) -> AsyncIterator[dict[str, Any]]:
    yield {"model_name": model, "inputs": [], "parameters": {"ping": True}}


class Endpoints:
    """The servers of one model repository."""

    def __init__(self, addresses: Sequence[str], model: str, every_s: float) -> None:
        self.all = [Endpoint(address) for address in addresses]
        self._model, self._every_s = model, every_s
        self._watches: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch their health, once."""
        if not self._watches:
            self._watches = [asyncio.create_task(each.watch(self._model, self._every_s)) for each in self.all]

    def choose(self, tried: set[Endpoint]) -> Endpoint | None:
        """The least busy of those that may be asked and were not tried."""
        left = [each for each in self.all if each.available and each not in tried]
        return min(left, key=lambda each: (each.outstanding, sum(each.ended.values())), default=None)

    def nobody(self) -> Unavailable:
        """The error if no server can be asked."""
        states = ", ".join(f"{each.address} {'fails' if each.there else 'does not answer'}" for each in self.all)
        waits = [each.breaker.wait_s for each in self.all if each.there]
        return Unavailable(f"no Triton server can draw: {states}", max(1.0, min(waits, default=PAUSE.first_s)))

    async def close(self) -> None:
        for task in self._watches:
            task.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        for each in self.all:
            await each.client.close()
