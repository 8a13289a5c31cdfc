"""The recall job on many users and items: users a second, memory, and how both grow with the number of users.

    python -m benchmarks.recall_scale [--users 10000 100000] [--items 100000] [--events 20] [--ray local] [--store-users 2000]

The world is simulated: users of a hundred tastes, covers near them. Each size runs in a process of its own, which ranks all items for every
user by profile, by another user's profile, by popularity and at random, with all figures and intervals. seconds_N and users_per_s_N: of N
users, without making the world; gib_N: peak memory of the process, world included (not of Ray's workers). growth: seconds a user of the
largest size over those of the smallest: 1 is linear. read_events_per_s, read_bytes: reading events of --store-users from SQLite.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from eyecatch.core.behaviour.mean_encoder import MeanEncoder
from eyecatch.core.types import Action, Cover, Event, Item
from eyecatch.encoders.learned import user_encoder
from eyecatch.evaluate.behaviour import NO_COVER, BehaviourTable, Covers, read
from eyecatch.evaluate.recall import measure
from eyecatch.evaluate.run_folder import RunFolder, digest
from eyecatch.evaluate.settings import RecallSettings
from eyecatch.shards import OnRay
from eyecatch.stores.sqlite import SqliteStore
from icg import starter
from icg.data.interactions import Interactions

from benchmarks import report

TASTES, DIM = 100, 64
GIB = 1 << 30


def world(users: int, items: int, events: int) -> BehaviourTable:
    """Each item has one cover near a taste; users engage with items of theirs in four of five cases."""
    rng = np.random.default_rng(0)
    tastes = rng.standard_normal((TASTES, DIM)).astype(np.float32)
    rows = tastes[np.arange(items) % TASTES] + rng.standard_normal((items, DIM), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    number = np.arange(items)
    covers = Covers(
        rows, number, np.zeros(items, bool), ("",) * items, np.full(items, -1), ("",) * items, ("",) * items, rows
    )
    user = np.repeat(np.arange(users), events)
    count = len(user)
    # Popular items are engaged with more often, as the square of a uniform number is small more often.
    item = (rng.random(count) ** 2 * (items // TASTES)).astype(np.int64) * TASTES
    own = rng.random(count) < 0.8
    item += np.where(own, user % TASTES, rng.integers(0, TASTES, count))
    days = np.tile(np.arange(events, dtype=np.float64), users)
    action = np.full(count, int(Action.CLICK))
    table = Interactions.of(user, item, days, action, np.ones(count, bool), users, items)
    catalogue = [Item(f"i{n}", f"Item {n}") for n in number.tolist()]
    nothing = np.zeros(count, np.int64)
    return BehaviourTable(catalogue, covers, range(users), table, np.full(count, NO_COVER), nothing)  # type: ignore[arg-type]


def one(users: int, args: argparse.Namespace) -> None:
    """One size in this process."""
    behaviour = world(users, args.items, args.events)
    settings = RecallSettings(ks=(20, 100), least=10)
    encoder = MeanEncoder() if args.encoder == "mean" else user_encoder(starter.path())
    with tempfile.TemporaryDirectory(prefix="eyecatch-recall-scale-") as folder:
        results = RunFolder(Path(folder), digest(behaviour, settings, encoder.version))
        began, cpu = time.monotonic(), time.process_time()
        if args.ray:
            with OnRay(args.ray) as ray:
                results = RunFolder(Path(folder), digest(behaviour, settings, encoder.version), ray)
                began, cpu = time.monotonic(), time.process_time()
                result = measure(behaviour, settings, encoder, None, results).result
        else:
            result = measure(behaviour, settings, encoder, None, results).result
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    figures = {name: round(row.figures["recall@20"].mean, 4) for name, row in result.rankings.items()}
    print(json.dumps({"users": result.users, "seconds": seconds, "cpu": cpu, "gib": memory, "recall20": figures}))


async def reading(users: int, args: argparse.Namespace) -> dict[str, float]:
    """Events from SQLite into columns."""
    with tempfile.TemporaryDirectory(prefix="eyecatch-recall-scale-") as folder:
        store, small = SqliteStore.open(Path(folder)), world(users, 1000, args.events)
        rows = [Cover(f"c{n}", item.id, "blob:x", small.covers.rows[n]) for n, item in enumerate(small.items)]
        await store.catalog.upsert_items(small.items, rows)
        table = small.table
        events = [
            Event(f"{n}", f"u{user}", f"i{item}", Action.CLICK, 1e9 + time)
            for n, (user, item, time) in enumerate(zip(table.user, table.item, table.time, strict=True))
        ]
        for first in range(0, len(events), 10_000):
            await store.profiles.absorb(events[first : first + 10_000], MeanEncoder())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        count = len(events)
        del events
        began = time.monotonic()
        behaviour = await read(store.catalog, store.profiles)
        seconds = time.monotonic() - began
        store.close()
        assert len(behaviour.table) + behaviour.counts["events told twice"] == count
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        return {"read_events_per_s": count / seconds, "read_bytes": grown / count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--encoder", choices=("starter", "mean"), default="starter")
    parser.add_argument("--ray", default="")
    parser.add_argument("--store-users", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=1, help="Repetitions of each size; the fastest counts.")
    parser.add_argument("--one", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one, args)
        return
    result: dict[str, float] = {}
    options = ("--items", args.items, "--events", args.events, "--encoder", args.encoder, "--ray", args.ray)
    for users in args.users:
        command = [sys.executable, "-m", "benchmarks.recall_scale", "--one", str(users), *map(str, options)]
        runs = []
        for _ in range(args.rounds):
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
        best = min(runs, key=lambda run: run["seconds"])
        print(json.dumps(best), flush=True)
        result |= {f"seconds_{users}": best["seconds"], f"users_per_s_{users}": best["users"] / best["seconds"]}
        result |= {f"cpu_{users}": best["cpu"], f"gib_{users}": max(run["gib"] for run in runs)}
    few, many = min(args.users), max(args.users)
    result["growth"] = result[f"users_per_s_{few}"] / result[f"users_per_s_{many}"]
    result["growth_cpu"] = (result[f"cpu_{many}"] / many) / (result[f"cpu_{few}"] / few)
    if args.store_users:
        result |= asyncio.run(reading(args.store_users, args))
    report(result)


if __name__ == "__main__":
    main()
