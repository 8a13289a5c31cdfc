"""What serving costs beside answering: a second process on the port, and TLS.

    python -m benchmarks.serving [--seconds 3] [--rounds 5]

two_process_throughput_ratio: answers a second of `serve --processes 2` / of one process, both on one Redis. tls_cost: answers a second
with TLS / without, on SQLite. Ready-made frames (http2_load.py) on sixteen connections, more than can be answered, of which each
connection has sixteen on their way; sides in turn, medians of their ratios. The client needs a core of its own.
"""

import argparse
import asyncio
import ssl
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import trustme
from eyecatch.stores.redis import RedisStore

from benchmarks import report
from benchmarks.fast_path import catalogue, fill, ours, requests
from benchmarks.http2_load import poisson
from benchmarks.load import METHOD
from tests.servers import running

USERS, CONNECTIONS, LIMIT, OFFERED = 10_000, 16, "16", 12_000


async def answers_per_s(port: int, seconds: float, tls: ssl.SSLContext | None = None) -> float:
    outcomes = await poisson(port, METHOD, requests(USERS), OFFERED, seconds, seconds, CONNECTIONS, tls=tls)
    return len(outcomes.answers_ms) / seconds


async def ratio(a: Callable[[], Awaitable[float]], b: Callable[[], Awaitable[float]], rounds: int) -> float:
    """Median of a / b, in turn, after a round that does not count."""
    ratios = [await a() / await b() for _ in range(rounds + 1)]
    return statistics.median(ratios[1:])


async def two_processes(folder: Path, args: argparse.Namespace) -> float:
    with running() as redis, ExitStack() as stack:
        store = await RedisStore.open(redis.url)
        await store.catalog.upsert_items(*catalogue(np.random.default_rng(0)))
        await store.close()
        flags = ("--max-calls-per-connection", LIMIT, "--store", redis.url, "--processes")
        one, _ = stack.enter_context(ours(folder / "one", extra=(*flags, "1")))
        two, _ = stack.enter_context(ours(folder / "two", extra=(*flags, "2")))
        return await ratio(
            lambda: answers_per_s(two, args.seconds), lambda: answers_per_s(one, args.seconds), args.rounds
        )


async def with_tls(folder: Path, args: argparse.Namespace) -> float:
    authority = trustme.CA()
    certificate, trust = authority.issue_cert("localhost"), ssl.create_default_context()
    authority.configure_trust(trust)
    trust.set_alpn_protocols(["h2"])
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "cert.pem", append=True)
    secure = ("--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem"))
    with ExitStack() as stack:
        ports = []
        for name, flags in (("plain", ()), ("tls", secure)):
            (folder / name).mkdir()
            await fill(folder / name, USERS)
            ports.append(
                stack.enter_context(ours(folder / name, extra=("--max-calls-per-connection", LIMIT, *flags)))[0]
            )
        plain, tls = ports
        return await ratio(
            lambda: answers_per_s(tls, args.seconds, trust), lambda: answers_per_s(plain, args.seconds), args.rounds
        )


async def measure(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        result = {
            "two_process_throughput_ratio": await two_processes(folder, args),
            "tls_cost": await with_tls(folder, args),
        }
    report(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
