"""More calls than a server can answer: what it still answers in time, how fast it refuses, whether health answers, and restarts.

    python -m benchmarks.overload [--seconds 5] [--deadline 1.0]

Poisson arrivals at 0.7, 2 and 5 times the capacity, whatever becomes of earlier calls, as ready-made frames (http2_load.py) on two
connections of at most 16 calls each (--max-calls-per-connection). What is beyond is refused by the client, as with
eyecatch.client.connect(reject=True). Goodput counts answers within the deadline. Health is asked every 20 ms on its own port.
rolling_restart_failures: failed calls of a client that follows the health of two servers while both are replaced. Use a machine without
other work: server and client need a core each.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks import report
from benchmarks.fast_path import fill, ours, requests
from benchmarks.http2_load import Outcomes, poisson
from benchmarks.load import METHOD, Load
from tests.faults.test_rolling_restart import replace_both
from tests.servers import free_port, running

USERS = 10_000
CONNECTIONS, LIMIT = 2, 16
PROBE_S, PROBE_TIMEOUT_S = 0.02, 2.0


async def probe(port: int, milliseconds: list[float]) -> None:
    """Ask health until cancelled; an error counts as the timeout."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while True:
            start = time.perf_counter()
            try:
                await health.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_TIMEOUT_S)
                milliseconds.append((time.perf_counter() - start) * 1e3)
            except grpc.aio.AioRpcError:
                milliseconds.append(PROBE_TIMEOUT_S * 1e3)
            await asyncio.sleep(PROBE_S)


async def offered(port: int, health_port: int, rate: float, args: argparse.Namespace) -> tuple[Outcomes, list[float]]:
    """(what became of the calls, milliseconds of the probes of health meanwhile)."""
    milliseconds: list[float] = []
    probing = asyncio.ensure_future(probe(health_port, milliseconds))
    outcomes = await poisson(port, METHOD, requests(USERS), rate, args.seconds, args.deadline, CONNECTIONS)
    probing.cancel()
    with suppress(asyncio.CancelledError):
        await probing
    return outcomes, milliseconds


def percentile(values: list[float], q: float) -> float:
    return float(np.percentile(values, q)) if values else 0.0


async def overload(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    health_port = free_port()
    flags = ("--health-port", str(health_port), "--max-calls-per-connection", str(LIMIT))
    with ours(folder, extra=flags) as (port, pid):
        load = Load(port, pid, requests(USERS))
        await load.closed(5.0)
        capacity = statistics.median([(await load.closed(args.seconds / 2)).rate for _ in range(3)])
        await load.close()
        calm, _ = await offered(port, health_port, 0.7 * capacity, args)
        double, _ = await offered(port, health_port, 2 * capacity, args)
        fivefold, health_ms = await offered(port, health_port, 5 * capacity, args)
    good = {name: each.within(args.deadline) / args.seconds for name, each in (("2x", double), ("5x", fivefold))}
    return {
        "capacity_per_s": capacity,
        "goodput_ratio_at_2x": good["2x"] / capacity,
        "goodput_ratio_at_5x": good["5x"] / capacity,
        "accepted_p99_ratio_at_2x": percentile(double.answers_ms, 99) / percentile(calm.answers_ms, 99),
        "refusal_ms_p99": percentile(double.refusals_ms, 99),
        "health_ms_p99_at_5x": percentile(health_ms, 99),
    }


async def measure(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch, running() as redis:
        folder = Path(scratch, "store")
        folder.mkdir()
        await fill(folder, USERS)
        result = await overload(folder, args)
        caller = await replace_both(redis.url, Path(scratch, "restarts"))
    report(result | {"rolling_restart_failures": len(caller.failures)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--deadline", type=float, default=1.0)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
