"""A million users in Redis: memory of each, and what a recommendation costs then against ten thousand users.

    python -m benchmarks.million_users [--rounds 20] [--seconds 1] [--users 1000000]

Two Redis servers at once, asked in turn. bytes_per_user: growth of Redis' used memory by the profiles, all of them full.
embedding_ratio: median time of reading one user embedding, many users / few; recommend_ratio: the same of RecommendCovers (20 items × 16
covers, one caller, no read cache) through a server process a side. Profiles are written through the codec, not absorbed.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import contextmanager
from itertools import islice

import numpy as np
import redis
from eyecatch.core.behaviour.absorb import OLDER_IDS
from eyecatch.core.behaviour.activity import Activity
from eyecatch.core.behaviour.tokens import token
from eyecatch.core.errors import Unavailable
from eyecatch.core.types import RECENT_EVENTS, Action, Event, Position, Profile
from eyecatch.encoders.learned import user_encoder
from eyecatch.stores.profile_codec import encode
from eyecatch.stores.redis import RedisStore
from eyecatch.stores.redis.keys import profile as key_of
from eyecatch.stores.redis.link import PAUSE_S
from icg import starter

from benchmarks import report
from benchmarks.fast_path import COVERS, ITEMS, catalogue, requests, server, unit
from benchmarks.load import Load
from tests.servers import running

FEW = 10_000
# Encoding a million takes minutes: so many different profiles are written again and again, each under its own key.
DIFFERENT = 10_000


def full(rng: np.random.Generator, n: int, version: int) -> list[bytes]:
    """Stored profiles that hold as much as a profile can, but for the positions: one, as nearly all users have."""
    rows = []
    for row in unit(rng, n):
        times = 1.7e9 - np.cumsum(rng.exponential(3600.0, RECENT_EVENTS))
        covers = rng.integers(ITEMS * COVERS, size=RECENT_EVENTS)
        actions = rng.integers(1, 1 + len(Action), size=RECENT_EVENTS)
        events = tuple(
            Event(token(f"e{t}"), "u", f"item-{c // COVERS:05}", Action(a), float(t), f"{c:024x}")
            for t, c, a in zip(times, covers, actions, strict=True)
        )
        older = tuple(token(f"o{t}") for t in times[:OLDER_IDS])
        at = Position("behavior.events@id/0", int(rng.integers(64)), int(rng.integers(2**40)))
        activity = Activity(tuple(float(x) for x in rng.exponential(5.0, len(Action))), 1.7e9)
        rows.append(encode(Profile("u", row, 200, 1.7e9, (at,), events, older, activity, encoder=version)))
    return rows


async def fill(url: str, users: int, profiles: list[bytes]) -> float:
    """Bytes of Redis' memory a user."""
    store = await RedisStore.open(url)
    await store.catalog.upsert_items(*catalogue(np.random.default_rng(0)))
    await store.close()
    client = redis.Redis.from_url(url)
    before = client.info("memory")["used_memory"]
    rows = ((key_of(f"user-{n}"), profiles[n % len(profiles)]) for n in range(users))
    while some := dict(islice(rows, 10_000)):
        client.mset(some)
    used = client.info("memory")["used_memory"] - before
    client.close()
    return used / users


class Reads:
    """One user embedding after the other through the store's own port."""

    def __init__(self, store: RedisStore, users: int, version: int) -> None:
        self._profiles, self._users, self._rng = store.profiles, users, np.random.default_rng(2)
        self.late = 0  # gave up, as the store does after 0.1 s: a machine that is busy with something else
        self._encoder = user_encoder(starter.path())
        assert self._encoder.version == version

    async def microseconds(self, seconds: float) -> list[float]:
        end, taken = time.perf_counter() + seconds, []
        for user in map("user-{}".format, self._rng.integers(self._users, size=100_000)):
            start = time.perf_counter()
            if start > end:
                break
            try:
                assert await self._profiles.embedding(user, self._encoder) is not None
            except Unavailable:
                self.late += 1
                await asyncio.sleep(PAUSE_S)
            else:
                taken.append((time.perf_counter() - start) * 1e6)
        return taken


@contextmanager
def serving(url: str):
    # Without the walks over all users at start and every hour, and without the cache that spares reads.
    flags = ("--no-preload", "--clusters-every-s", "0", "--reencode-every-s", "0", "--profile-cache-s", "0")
    with tempfile.TemporaryDirectory() as folder:
        command = ("-m", "eyecatch.cli", "serve", "--data-dir", folder, "--port", "0", "--store", url)
        with server(*command, *flags) as server_info:
            yield server_info


def compared(name: str, few: list[list[float]], many: list[list[float]]) -> dict[str, float]:
    """Of pairs measured one after the other: medians, 99th percentiles, and the median of the pairs' ratios."""
    return {
        f"{name}_ratio": statistics.median(np.median(b) / np.median(a) for a, b in zip(few, many, strict=True)),
        f"{name}_few": float(np.median(np.concatenate(few))),
        f"{name}_many": float(np.median(np.concatenate(many))),
        f"{name}_p99_few": float(np.percentile(np.concatenate(few), 99)),
        f"{name}_p99_many": float(np.percentile(np.concatenate(many), 99)),
    }


async def reads(urls: list[str], counts: list[int], version: int, args: argparse.Namespace) -> dict[str, float]:
    stores = [await RedisStore.open(url) for url in urls]
    sides = [Reads(store, users, version) for store, users in zip(stores, counts, strict=True)]
    taken: list[list[list[float]]] = [[], []]
    for n in range(args.rounds):
        for side in sorted((0, 1), reverse=n % 2 == 0):
            taken[side].append(await sides[side].microseconds(args.seconds / 2))
    for store in stores:
        await store.close()
    return compared("embedding_us", *taken) | {"embedding_late": sum(side.late for side in sides)}


async def recommendations(urls: list[str], counts: list[int], args: argparse.Namespace) -> dict[str, float]:
    with serving(urls[0]) as few, serving(urls[1]) as many:
        loads = [Load(*at, requests(users, 20_000)) for at, users in zip((few, many), counts, strict=True)]
        for load in loads:
            await load.closed(5.0)
        taken: list[list[list[float]]] = [[], []]
        for n in range(args.rounds):
            for side in sorted((0, 1), reverse=n % 2 == 0):
                taken[side].append((await loads[side].closed(args.seconds, concurrency=1)).latencies_ms.tolist())
        for load in loads:
            await load.close()
    return compared("recommend_ms", *taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--users", type=int, default=1_000_000)
    asyncio.run(measure(parser.parse_args()))


async def measure(args: argparse.Namespace) -> None:
    version = user_encoder(starter.path()).version
    profiles = full(np.random.default_rng(1), DIFFERENT, version)
    counts = [FEW, args.users]
    with running() as small, running() as large:
        urls = [small.url, large.url]
        sizes = [await fill(url, users, profiles) for url, users in zip(urls, counts, strict=True)]
        result = {"bytes_per_user": sizes[1], "bytes_per_user_few": sizes[0]}
        result["profile_bytes"] = statistics.mean(map(len, profiles))
        result |= await reads(urls, counts, version, args)
        result |= await recommendations(urls, counts, args)
    report(result)


if __name__ == "__main__":
    main()
