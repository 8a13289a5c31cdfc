"""Unary gRPC calls as ready-made HTTP/2 frames: one core sends tens of thousands a second, where a gRPC client sends three thousand.

Knows as much of HTTP/2 (RFC 9113) as a load needs: static headers, flow control of the sender, and whether a stream had data.
"""

import asyncio
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MAX_CONCURRENT_STREAMS = 3
LARGE = 2**31 - 1
WINDOW_AT_START = 65_535
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def headers(path: str, timeout: str) -> bytes:
    """A POST of gRPC in HPACK: entries of the static table, and literals that are not indexed."""

    def text(value: str) -> bytes:
        return bytes([len(value)]) + value.encode()

    literals = (("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", timeout))
    rest = b"".join(b"\0" + text(name) + text(value) for name, value in literals)
    return b"\x83\x86\x04" + text(path) + b"\x01" + text("localhost") + rest


@dataclass
class Outcomes:
    """Milliseconds since each call was due: of those with an answer, and of those without (refused, cut off or too late)."""

    answers_ms: list[float] = field(default_factory=list)
    refusals_ms: list[float] = field(default_factory=list)

    def within(self, deadline_s: float) -> int:
        """Answers before the deadline."""
        return int((np.array(self.answers_ms) <= deadline_s * 1e3).sum())


class Connection(asyncio.Protocol):
    """One connection. `send` begins a call that was due at a moment of time.perf_counter.

    A call beyond what the server lets a connection have at a time is refused here, as gRPC's core does for a client with
    grpc.http.max_concurrent_streams_reject_on_client; or with `waits` it waits for its turn until its deadline, as without.
    """

    def __init__(self, path: str, deadline_s: float, outcomes: Outcomes, waits: bool) -> None:
        self._headers, self._outcomes = headers(path, f"{round(deadline_s * 1000)}m"), outcomes
        self._deadline_s, self._waits, self._limit = deadline_s, waits, LARGE
        self._buffer = b""
        self._next, self._window = 1, WINDOW_AT_START
        self._calls: dict[int, list[float]] = {}
        self._unsent: deque[tuple[bytes, float]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        settings = struct.pack(">HI", 4, LARGE)  # INITIAL_WINDOW_SIZE
        whole = frame(WINDOW, 0, 0, struct.pack(">I", LARGE - WINDOW_AT_START))
        self._transport.write(PREFACE + frame(SETTINGS, 0, 0, settings) + whole)

    def send(self, message: bytes, due: float) -> None:
        if len(self._calls) >= self._limit and not self._waits:
            self._outcomes.refusals_ms.append((time.perf_counter() - due) * 1e3)
        else:
            self._unsent.append((message, due))
            self._send_waiting()

    def _send_waiting(self) -> None:
        while self._unsent and len(self._calls) < self._limit and self._window >= len(self._unsent[0][0]) + 5:
            message, due = self._unsent.popleft()
            if (late := time.perf_counter() - due) < self._deadline_s:
                self._begin(message, due)
            else:
                self._outcomes.refusals_ms.append(late * 1e3)

    def _begin(self, message: bytes, due: float) -> None:
        self._window -= len(message) + 5
        stream, self._next = self._next, self._next + 2
        self._calls[stream] = [due, 0.0]
        body = b"\0" + struct.pack(">I", len(message)) + message
        begin = frame(HEADERS, END_HEADERS, stream, self._headers)
        self._transport.write(begin + frame(DATA, END_STREAM, stream, body))

    @property
    def running(self) -> int:
        return len(self._calls) + len(self._unsent)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        at, size = 0, len(self._buffer)
        while size - at >= 9:
            length_kind, flags, stream = struct.unpack_from(">IBI", self._buffer, at)
            length = length_kind >> 8
            if size - at - 9 < length:
                break
            self._take(length_kind & 255, flags, stream, self._buffer[at + 9 : at + 9 + length])
            at += 9 + length
        self._buffer = self._buffer[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA and stream in self._calls:
            self._calls[stream][1] = 1.0
        if (kind in (DATA, HEADERS) and flags & END_STREAM) or kind == RESET:
            due, answer = self._calls.pop(stream, (0.0, 0.0))
            if due:
                outcome = self._outcomes.answers_ms if answer else self._outcomes.refusals_ms
                outcome.append((time.perf_counter() - due) * 1e3)
                self._send_waiting()
        elif kind == WINDOW and stream == 0:
            self._window += struct.unpack(">I", payload)[0]
            self._send_waiting()
        elif kind in (SETTINGS, PING) and not flags & ACK:
            if kind == SETTINGS:
                self._limit = dict(struct.iter_unpack(">HI", payload)).get(MAX_CONCURRENT_STREAMS, self._limit)
            self._transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))

    def close(self) -> None:
        self._transport.close()


async def poisson(
    port: int,
    path: str,
    messages: Sequence[bytes],
    rate: float,
    seconds: float,
    deadline_s: float,
    connections: int = 8,
    waits: bool = False,
    tls: ssl.SSLContext | None = None,
) -> Outcomes:
    """Calls at random moments, `rate` a second, whatever becomes of earlier ones; waits for the last answers."""
    outcomes, loop = Outcomes(), asyncio.get_running_loop()
    make: Callable[[], Connection] = lambda: Connection(path, deadline_s, outcomes, waits)  # noqa: E731
    host = "localhost" if tls else None
    begun = [loop.create_connection(make, "127.0.0.1", port, ssl=tls, server_hostname=host) for _ in range(connections)]
    open_connections = [connection for _, connection in await asyncio.gather(*begun)]
    due = time.perf_counter() + np.cumsum(np.random.default_rng(0).exponential(1 / rate, int(rate * seconds)))
    for n, at in enumerate(due.tolist()):
        while (wait := at - time.perf_counter()) > 0:
            await asyncio.sleep(wait if wait > 0.001 else 0)
        open_connections[n % connections].send(messages[n % len(messages)], at)
        if n % 16 == 0:
            await asyncio.sleep(0)
    end = time.perf_counter() + deadline_s + 2.0
    while time.perf_counter() < end and any(each.running for each in open_connections):
        await asyncio.sleep(0.01)
    for each in open_connections:
        outcomes.refusals_ms += [(deadline_s + 2.0) * 1e3] * each.running
        each.close()
    return outcomes
