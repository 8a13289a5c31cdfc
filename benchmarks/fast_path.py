"""RecommendCovers, 20 items × 16 covers, against an empty grpc.aio handler with messages of the same size.

    python -m benchmarks.fast_path [--rounds 5] [--seconds 2] [--users 1000000]

One server process a side, one client, in turn. throughput_ratio: ours / empty, closed loop. p99_ratio: ours / empty at 70 % of
each side's own capacity, Poisson arrivals. one_core_ratio: throughput again with the server on core 0 and the client on core 1, where
gRPC's own threads share the server's only core with Python. growth_ratio: server CPU per request with 10^6 stored users / with 10^4.
"""

import argparse
import asyncio
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import numpy as np
from eyecatch.core.types import EMBEDDING_DIM, Cover, Item, Profile
from eyecatch.encoders.learned import user_encoder
from eyecatch.stores.profile_codec import encode
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.v1 import covers_pb2
from icg import starter

from benchmarks import report
from benchmarks.load import Load, Result
from tests.processes import owned

ITEMS, COVERS, REQUESTED = 1000, 16, 20


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    rows = rng.standard_normal((n, EMBEDDING_DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def catalogue(rng: np.random.Generator) -> tuple[list[Item], list[Cover]]:
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
    return items, covers


async def fill(folder: Path, users: int) -> None:
    """A catalogue through the store, profiles straight into its table: a million users through events would take an hour."""
    rng = np.random.default_rng(0)
    version = user_encoder(starter.path()).version
    store = SqliteStore.open(folder)
    items, covers = catalogue(rng)
    await store.catalog.upsert_items(items, covers)
    store.close()
    with sqlite3.connect(folder / "eyecatch.db") as db:
        for first in range(0, users, 50_000):
            n = min(50_000, users - first)
            rows = unit(rng, n)
            users_of = (f"user-{first + i}" for i in range(n))
            values = [
                (user, encode(Profile(user, row, 32, 0.0, encoder=version)))
                for user, row in zip(users_of, rows, strict=True)
            ]
            db.executemany("INSERT INTO profiles (user_id, profile) VALUES (?, ?)", values)
    db.close()


def requests(users: int, n: int = 4000) -> list[bytes]:
    rng = np.random.default_rng(1)
    return [
        covers_pb2.RecommendCoversRequest(
            user_id=f"user-{rng.integers(users)}",
            item_ids=[f"item-{i:05}" for i in rng.choice(ITEMS, REQUESTED, replace=False)],
        ).SerializeToString()
        for _ in range(n)
    ]


@contextmanager
def server(*command: str, core: int | None = None):
    """On any core, or on one."""
    cores = set(range(os.cpu_count())) if core is None else {core}
    process = subprocess.Popen(
        owned(sys.executable, *command),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    try:
        line = process.stdout.readline()
        yield int(re.search(r":(\d+)$", line.strip()).group(1)), process.pid
    finally:
        process.terminate()
        process.communicate(timeout=20)


def ours(folder: Path, core: int | None = None, extra: tuple[str, ...] = ()):
    # Without the walks over all users at start and every hour: they would fall into some periods and not into others.
    flags = ("--no-preload", "--clusters-every-s", "0", "--reencode-every-s", "0", *extra)
    return server("-m", "eyecatch.cli", "serve", "--data-dir", str(folder), "--port", "0", *flags, core=core)


async def one_answer(port: int, request: bytes) -> bytes:
    load = Load(port, os.getpid(), [request])
    answer = await load._call(request)
    await load.close()
    return answer


@asynccontextmanager
async def both(folder: Path, sent: list[bytes], core: int | None = None):
    """Load on our server and on the empty one, pools and users in memory; and the size of our answer."""
    with ours(folder, core) as (port, pid), tempfile.TemporaryDirectory() as scratch:
        response = Path(scratch, "response")
        size = response.write_bytes(await one_answer(port, sent[0]))
        with server("-m", "benchmarks.empty_handler", str(response), core=core) as (empty_port, empty_pid):
            sides = {"ours": Load(port, pid, sent), "empty": Load(empty_port, empty_pid, sent)}
            for load in sides.values():
                await load.closed(8.0)
            yield sides, size
            for load in sides.values():
                await load.close()


async def throughput(sides: dict[str, Load], args: argparse.Namespace) -> dict[str, list[Result]]:
    results: dict[str, list[Result]] = {name: [] for name in sides}
    for n in range(4 * args.rounds):  # short rounds: what else the machine does then weighs on both sides alike
        for name in sorted(sides, reverse=n % 2 == 0):
            results[name].append(await sides[name].closed(args.seconds / 4))
    return results


def ratio(results: dict[str, list[Result]]) -> float:
    return statistics.median(a.rate / b.rate for a, b in zip(results["ours"], results["empty"], strict=True))


async def against_empty(folder: Path, sent: list[bytes], args: argparse.Namespace) -> dict[str, float]:
    async with both(folder, sent) as (sides, size):
        results = await throughput(sides, args)
        medians = {name: statistics.median(r.rate for r in results[name]) for name in sides}
        p99: dict[str, list[float]] = {name: [] for name in sides}
        for n in range(4 * args.rounds):
            for name in sorted(sides, reverse=n % 2 == 0):
                p99[name].append((await sides[name].open(args.seconds / 2, 0.7 * medians[name], seed=n)).percentile(99))
    os.sched_setaffinity(0, {1 % os.cpu_count()})
    async with both(folder, sent, core=0) as (sides, _):
        alone = await throughput(sides, args)
    os.sched_setaffinity(0, range(os.cpu_count()))
    return {
        "throughput_ratio": ratio(results),
        "p99_ratio": statistics.median(a / b for a, b in zip(p99["ours"], p99["empty"], strict=True)),
        "one_core_ratio": ratio(alone),
        **{f"rate_{name}": rate for name, rate in medians.items()},
        **{f"p99_ms_{name}": statistics.median(values) for name, values in p99.items()},
        **{f"cpu_us_{name}": statistics.median(r.server_cpu_us for r in results[name]) for name in sides},
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--users", type=int, default=1_000_000)
    asyncio.run(measure(parser.parse_args()))


async def measure(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        small, large = Path(scratch, "small"), Path(scratch, "large")
        for folder, users in ((small, 10_000), (large, args.users)):
            folder.mkdir()
            await fill(folder, users)
        result = await against_empty(small, requests(10_000), args)
        result |= await growth(small, large, args.users, args)
    report(result)


if __name__ == "__main__":
    main()
