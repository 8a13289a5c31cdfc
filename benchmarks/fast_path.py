"""RecommendCovers, 20 items × 16 covers, against an empty grpc.aio handler with messages of the same size.

    python -m benchmarks.fast_path [--rounds 5] [--seconds 2] [--users 1000000]

Server on core 0, client on core 1, the two sides in turn. throughput_ratio: ours / empty, closed loop. p99_ratio: ours / empty at
70 % of each side's own capacity, Poisson arrivals. growth_ratio: server CPU per request with 10^6 stored users / with 10^4.
"""

import argparse
import asyncio
import json
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from eyecatch.core.types import EMBEDDING_DIM, Cover, Item
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.v1 import covers_pb2

from benchmarks.load import Load

ITEMS, COVERS, ASKED = 1000, 16, 20


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    rows = rng.standard_normal((n, EMBEDDING_DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


async def fill(folder: Path, users: int) -> None:
    """A catalogue through the store, profiles straight into its table: a million users through events would take an hour."""
    rng = np.random.default_rng(0)
    store = SqliteStore.open(folder)
    items = [Item(f"item-{i:05}", f"Title number {i}") for i in range(ITEMS)]
    embeddings = unit(rng, ITEMS * COVERS)
    covers = [
        Cover(
            id=f"{i:024x}",
            item_id=items[i // COVERS].id,
            uri=f"blob:{i:064x}.webp",
            embedding=embeddings[i],
            rewards={"relevance": float(rng.normal(0.5, 0.2))},
            created_at=float(i),
        )
        for i in range(ITEMS * COVERS)
    ]
    await store.catalog.upsert_items(items, covers)
    store.close()
    with sqlite3.connect(folder / "eyecatch.db") as db:
        for first in range(0, users, 50_000):
            n = min(50_000, users - first)
            rows = unit(rng, n).astype(np.float16)
            values = [(f"user-{first + i}", rows[i].tobytes(), 32, 0.0) for i in range(n)]
            db.executemany(
                "INSERT INTO profiles (user_id, embedding, event_count, updated_at) VALUES (?, ?, ?, ?)", values
            )
    db.close()


def requests(users: int, n: int = 4000) -> list[bytes]:
    rng = np.random.default_rng(1)
    return [
        covers_pb2.RecommendCoversRequest(
            user_id=f"user-{rng.integers(users)}",
            item_ids=[f"item-{i:05}" for i in rng.choice(ITEMS, ASKED, replace=False)],
        ).SerializeToString()
        for _ in range(n)
    ]


@contextmanager
def server(*command: str, core: int = 0):
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core % os.cpu_count()}),
    )
    try:
        line = process.stdout.readline()
        yield int(re.search(r":(\d+)$", line.strip()).group(1)), process.pid
    finally:
        process.terminate()
        process.wait(20)


def ours(folder: Path):
    return server("-m", "eyecatch.cli", "serve", "--data-dir", str(folder), "--port", "0", "--no-preload")


async def one_answer(port: int, request: bytes) -> bytes:
    load = Load(port, os.getpid(), [request])
    answer = await load._call(request)
    await load.close()
    return answer


async def against_empty(folder: Path, sent: list[bytes], args: argparse.Namespace) -> dict[str, float]:
    rates: dict[str, list[float]] = {"ours": [], "empty": []}
    p99: dict[str, list[float]] = {"ours": [], "empty": []}
    cpu: dict[str, list[float]] = {"ours": [], "empty": []}
    with ours(folder) as (port, pid), tempfile.TemporaryDirectory() as scratch:
        response = Path(scratch, "response")
        size = response.write_bytes(await one_answer(port, sent[0]))
        with server("-m", "benchmarks.empty_handler", str(response)) as (empty_port, empty_pid):
            sides = {"ours": Load(port, pid, sent), "empty": Load(empty_port, empty_pid, sent)}
            for load in sides.values():
                await load.closed(5.0)  # every request of the list once: pools and users are in memory
            for n in range(args.rounds):
                for name in sorted(sides, reverse=n % 2 == 0):
                    result = await sides[name].closed(args.seconds)
                    rates[name].append(result.rate)
                    cpu[name].append(result.server_cpu_us)
            for n in range(args.rounds):
                for name in sorted(sides, reverse=n % 2 == 0):
                    rate = 0.7 * statistics.median(rates[name])
                    p99[name].append((await sides[name].open(args.seconds, rate, seed=n)).percentile(99))
            for load in sides.values():
                await load.close()
    median = {
        f"{what}_{name}": statistics.median(values[name])
        for what, values in (("rate", rates), ("p99_ms", p99), ("cpu_us", cpu))
        for name in values
    }
    return {
        "throughput_ratio": statistics.median(a / b for a, b in zip(rates["ours"], rates["empty"], strict=True)),
        "p99_ratio": statistics.median(a / b for a, b in zip(p99["ours"], p99["empty"], strict=True)),
        **median,
        "response_bytes": size,
    }


async def growth(small: Path, large: Path, users: int, args: argparse.Namespace) -> dict[str, float]:
    few, many = requests(10_000), requests(users, 20_000)
    with ours(small) as (port_a, pid_a), ours(large) as (port_b, pid_b):
        a, b = Load(port_a, pid_a, few), Load(port_b, pid_b, many)
        await a.closed(5.0)
        await b.closed(5.0)
        ratios = []
        for _ in range(args.rounds):
            x, y = await a.closed(args.seconds), await b.closed(args.seconds)
            ratios.append(y.server_cpu_us / x.server_cpu_us)
        await a.close()
        await b.close()
    return {"growth_ratio": statistics.median(ratios)}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--users", type=int, default=1_000_000)
    args = parser.parse_args()
    os.sched_setaffinity(0, {1 % os.cpu_count()})
    with tempfile.TemporaryDirectory() as scratch:
        small, large = Path(scratch, "small"), Path(scratch, "large")
        for folder, users in ((small, 10_000), (large, args.users)):
            folder.mkdir()
            await fill(folder, users)
        result = await against_empty(small, requests(10_000), args)
        result |= await growth(small, large, args.users, args)
    for name, value in result.items():
        print(f"{name:20} {value:.3f}")
    print(json.dumps({k: round(v, 4) for k, v in result.items()}))


if __name__ == "__main__":
    asyncio.run(main())
