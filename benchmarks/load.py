"""Load on a gRPC server from one asyncio client that neither builds nor parses messages. Knows no service."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
import numpy as np

METHOD = "/eyecatch.v1.CoversService/RecommendCovers"


@dataclass(frozen=True)
class Result:
    requests: int
    seconds: float
    latencies_ms: np.ndarray
    server_cpu_us: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    def percentile(self, q: float) -> float:
        return float(np.percentile(self.latencies_ms, q))


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Load:
    """One channel to one server; requests are ready-made bytes taken in turn."""

    def __init__(self, port: int, pid: int, requests: Sequence[bytes]) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._call: Callable[..., grpc.aio.UnaryUnaryCall] = self._channel.unary_unary(METHOD)
        self._pid, self._requests, self._next = pid, requests, 0

    def _request(self) -> bytes:
        self._next = (self._next + 1) % len(self._requests)
        return self._requests[self._next]

    async def closed(self, seconds: float, concurrency: int = 24) -> Result:
        """As many as the server answers: `concurrency` callers that each wait for their answer."""
        end = time.perf_counter() + seconds
        latencies: list[float] = []

        async def caller() -> None:
            while (start := time.perf_counter()) < end:
                await self._call(self._request())
                latencies.append(time.perf_counter() - start)

        return await self._measure(latencies, [caller() for _ in range(concurrency)])

    async def open(self, seconds: float, rate: float, seed: int) -> Result:
        """Poisson arrivals at `rate`; latency counts from the moment a request was due, so a stall is not hidden."""
        gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds))
        due = time.perf_counter() + np.cumsum(gaps)
        latencies: list[float] = []

        async def one(at: float) -> None:
            await self._call(self._request())
            latencies.append(time.perf_counter() - at)

        async def arrivals() -> None:
            running = set()
            for at in due:
                while (wait := at - time.perf_counter()) > 0:
                    await asyncio.sleep(wait if wait > 0.0015 else 0)
                task = asyncio.ensure_future(one(at))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.gather(*running)

        return await self._measure(latencies, [arrivals()])

    async def _measure(self, latencies: list[float], work: list) -> Result:
        start, cpu = time.perf_counter(), cpu_seconds(self._pid)
        await asyncio.gather(*work)
        seconds = time.perf_counter() - start
        used = cpu_seconds(self._pid) - cpu
        return Result(len(latencies), seconds, np.array(latencies) * 1e3, used / max(len(latencies), 1) * 1e6)

    async def close(self) -> None:
        await self._channel.close()
