"""Triton servers and the choice between them: which are reachable, which fail, which is the least busy. Knows no brief."""

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
from eyecatch.tls import Tls

log = structlog.get_logger(__name__)

FAILURES = 3
"""After so many failures in a row a server gets a pause."""
PAUSE = Backoff(1.0, 30.0, jitter=0.0)
"""The length of a pause; each failed trial after one doubles the next."""
MISSES = 2
"""After so many unanswered pings in a row a server counts as unreachable. A single one may be lost on a busy machine."""
PING_S = 2.0
"""Timeout of a ping."""
CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 256 << 20),
    # gRPC's default waits grow to two minutes, which is too long to notice a restarted server.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class Breaker:
    """A circuit breaker: closed while requests succeed, open for a pause after FAILURES in a row; then one trial decides."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._failures, self._until, self._trial = clock, 0, 0.0, False

    @property
    def open(self) -> bool:
        """Whether requests are blocked, except for one trial after the pause."""
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
        """The request says nothing about the server: the caller went away, or the server was full."""
        self._trial = False

    def failed(self) -> None:
        self._failures += 1
        if self.open:
            self._until = self._clock() + PAUSE(self._failures - FAILURES)
        self._trial = False


class Endpoint:
    """One server. outstanding: the number of our requests that run reachable. ended: the numbers of finished requests by outcome."""

    def __init__(self, address: str, tls: Tls | None = None) -> None:
        """Raises InvalidInput for an unusable file of `tls`."""
        self.address, self._tls = address, tls
        self._versions = tls.versions() if tls else ()
        self.client = self._connect()
        self._clients_before: list[InferenceServerClient] = []
        self.breaker, self.reachable, self.outstanding = Breaker(), True, 0
        self.ended: Counter[str] = Counter()
        self.seconds = 0.0
        self._misses = 0
        self._calls: set[Any] = set()

    def _connect(self) -> InferenceServerClient:
        credentials = self._tls.credentials() if self._tls else None
        return InferenceServerClient(self.address, creds=credentials, channel_args=CHANNEL)

    async def renew(self) -> None:
        """New calls use the files of TLS as they are now; the connection before is closed when its calls have ended."""
        if self._tls and (versions := self._tls.versions()) != self._versions:
            self._versions = versions
            try:
                client = self._connect()
            except InvalidInput as error:
                log.error("tls_not_reloaded", why=str(error), effect="the certificate before stays")
            else:
                self._clients_before.append(self.client)
                self.client = client
        while self._clients_before and not self.outstanding:
            await self._clients_before.pop().close()

    async def close(self) -> None:
        for client in (*self._clients_before, self.client):
            await client.close()

    @property
    def available(self) -> bool:
        return self.reachable and self.breaker.allows()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count one request, and report its outcome to the breaker."""
        start, outcome = time.monotonic(), "cancelled"
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
            self.seconds += time.monotonic() - start
            verdict = {"done": self.breaker.worked, "refused": self.breaker.worked, "failed": self.breaker.failed}
            was_open = self.breaker.open
            verdict.get(outcome, self.breaker.undecided)()
            if self.breaker.open != was_open:
                log.warning("triton_breaker", endpoint=self.address, open=self.breaker.open)

    @contextmanager
    def calling(self, call: Any) -> Iterator[None]:
        """Cancel the call at the end of the context, or as soon as the server is unreachable."""
        self._calls.add(call)
        try:
            yield
        finally:
            self._calls.discard(call)
            call.cancel()

    async def alive(self, model: str, within_s: float) -> bool:
        """Whether the model's process answers. Triton's own readiness stays true when that process was killed."""
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
        """Ping until cancelled, so that a silent server is noticed long before the deadlines of its requests."""
        while True:
            await self.renew()
            self._misses = 0 if await self.alive(model, PING_S) else self._misses + 1
            if self.reachable != (self._misses < MISSES):
                self.reachable = not self.reachable
                log.warning("triton_endpoint", endpoint=self.address, there=self.reachable)
            if not self.reachable:
                for call in list(self._calls):
                    call.cancel()
            await asyncio.sleep(every_s)


async def _ping(model: str) -> AsyncIterator[dict[str, Any]]:
    yield {"model_name": model, "inputs": [], "parameters": {"ping": True}}


class Endpoints:
    """The servers of one model repository."""

    def __init__(self, addresses: Sequence[str], model: str, every_s: float, tls: Tls | None = None) -> None:
        """Raises InvalidInput for an unusable file of `tls`."""
        self.all = [Endpoint(address, tls) for address in addresses]
        self._model, self._every_s = model, every_s
        self._watches: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start to watch their health, once."""
        if not self._watches:
            self._watches = [asyncio.create_task(each.watch(self._model, self._every_s)) for each in self.all]

    def choose(self, tried: set[Endpoint]) -> Endpoint | None:
        """The least busy available server that was not tried, or None."""
        candidates = [each for each in self.all if each.available and each not in tried]
        return min(candidates, key=lambda each: (each.outstanding, sum(each.ended.values())), default=None)

    def unavailable(self) -> Unavailable:
        """The error if no server is available."""
        states = ", ".join(f"{each.address} {'fails' if each.reachable else 'does not answer'}" for each in self.all)
        waits = [each.breaker.wait_s for each in self.all if each.reachable]
        return Unavailable(f"no Triton server can draw: {states}", max(1.0, min(waits, default=PAUSE.first_s)))

    async def close(self) -> None:
        for task in self._watches:
            task.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        for each in self.all:
            await each.close()
