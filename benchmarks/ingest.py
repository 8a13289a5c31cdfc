"""Ingest from Kafka: throughput against a bare loop that only decodes, throughput from memory, and freshness.

    python -m benchmarks.ingest [--rounds 3] [--events 300000] [--seconds 30]

Behaviour as in benchmarks/behaviour.py: 500 users (and 10,000), four partitions, protobuf of 135 bytes, the learned encoder on. All is read
from a backlog, until the last record is acknowledged by the store; at its start no user has a profile. Ours join their group while
the topic is empty and stand still until the backlog is there: nothing is read before the clock starts.

throughput_ratio: events/s of `eyecatch ingest --processes N` into Redis, N the number of cores but four at most, / those of kafka-python's
poll and protobuf's parser with the same options in one process, in turn; throughput_ratio_one and throughput_ratio_sqlite: with one process
of ours. memory: from records in memory, events a CPU second of one core, with the encoder and with one that does nothing.
freshness: 1,000 events/s through broker, ingest, Redis and server; from produce to a GetProfile, or a RecommendCovers, that shows it.

The broker is tansu from a wheel, in memory: it hands out 60,000 to 100,000 records/s, more than kafka-python takes.
"""

import argparse
import asyncio
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import uvloop
from confluent_kafka import Producer
from eyecatch.core.behaviour.shown import ShownCovers
from eyecatch.core.ports import Encoder
from eyecatch.core.types import EMBEDDING_DIM, Event, Vector
from eyecatch.ingest.loop import Loop
from eyecatch.ingest.metrics import IngestMetrics
from eyecatch.kafka.buffer import Buffer, Chunk
from eyecatch.kafka.offsets import Log
from eyecatch.kafka.retry import Retry
from eyecatch.kafka.source import FETCH_BYTES, POLL_RECORDS
from eyecatch.messages import event_to_wire
from eyecatch.observe.health import Health
from eyecatch.reader_config import IngestConfig
from eyecatch.stores.redis import RedisStore
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.v1 import types_pb2
from eyecatch.wiring.ingest import tune_for_batches
from eyecatch.wiring.stores import current_encoder
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from benchmarks import behaviour, report
from benchmarks.fresh import freshness
from tests import broker as brokers
from tests import servers
from tests.processes import owned

PARTITIONS = 4


@dataclass(frozen=True)
class Rate:
    """Events/s by the clock, and by the CPU time of one process."""

    wall: float
    cpu: float


class Watch:
    """From its making on."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def rate(self, events: int) -> Rate:
        return Rate(events / (time.perf_counter() - self._wall), events / (time.process_time() - self._cpu))


def bare(address: str, topic: str, events: int) -> float:
    """kafka-python's poll and protobuf's parser."""
    consumer = KafkaConsumer(
        bootstrap_servers=address,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_bytes=FETCH_BYTES,
        max_poll_records=POLL_RECORDS,
    )
    consumer.assign([TopicPartition(topic, n) for n in range(PARTITIONS)])
    watch: Watch | None = None
    count, decode = 0, types_pb2.Event.FromString
    while watch is None or count < events:
        polled = consumer.poll(50)
        watch = watch or (Watch() if polled else None)
        for records in polled.values():
            for record in records:
                decode(record.value)
            count += len(records)
    rate = watch.rate(count).wall
    consumer.close()
    return rate


def ours(config: IngestConfig, fill: Callable[[], None], events: int) -> float:
    """Events/s of what `eyecatch ingest` runs. `fill` produces the backlog."""
    flags = [f"--{f.name.replace('_', '-')}={getattr(config, f.name)}" for f in fields(config)]
    command = [sys.executable, "-m", "eyecatch.cli", "ingest", *flags]
    with subprocess.Popen(owned(*command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        page = process.stdout.readline().rpartition(" ")[2].strip().removesuffix("/health") + "/metrics"
        share = PARTITIONS / config.processes
        while metric(page, "eyecatch_ingest_partitions") != [share] * config.processes:
            time.sleep(0.05)
        together = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
        for each in together:
            each.suspend()
        fill()
        for each in together:
            each.resume()
        began = time.perf_counter()
        while sum(metric(page, "eyecatch_ingest_events_total", 'outcome="new"')) < events:
            time.sleep(0.05)  # telling costs as much as absorbing a hundred events
            if process.poll() is not None:
                raise RuntimeError(f"ingest ended with {process.returncode}")
        rate = events / (time.perf_counter() - began)
        process.terminate()
    return rate


def metric(page: str, name: str, label: str = "") -> list[float]:
    """Values of a metric, one a process."""
    with urllib.request.urlopen(page) as answer:
        lines = answer.read().decode().splitlines()
    return [float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}[ {{]", line) and label in line]


class Still:
    """An encoder that costs nothing."""

    def __init__(self, version: int) -> None:
        self.version = version

    def __call__(self, users: Sequence[Sequence[Event]], embeddings: Any) -> Vector:
        return np.zeros((len(users), EMBEDDING_DIM), np.float32)


class NoLetters:
    async def send(self, records: Sequence[Any]) -> None:
        raise RuntimeError(f"{len(records)} records are refused")


def memory(events: int, users: int, store: str, folder: str, still: bool) -> Rate:
    """Records that are in memory already, into a store."""

    async def run() -> Rate:
        opened: Any = await RedisStore.open(store) if store else SqliteStore.open(folder)
        config = IngestConfig(store=store, data_dir=folder)
        encoder: Encoder = await current_encoder(config, opened)
        buffer = Buffer(2 * events)
        for chunk in chunks(events, users):
            buffer.put(chunk)
        buffer.close()
        tune_for_batches()
        chosen = Still(encoder.version) if still else encoder
        metrics = IngestMetrics()
        sinks = (opened.profiles, chosen, ShownCovers(opened.catalog), NoLetters())
        loop = Loop(
            buffer,
            lambda chunks: None,
            *sinks,
            "t",
            config.batch_max,
            Retry(Health(), metrics, 5.0),
            metrics,
            time.time,
        )
        watch = Watch()
        await loop.run()
        rate = watch.rate(events)
        if store:
            await opened.close()
        else:
            opened.close()
        return rate

    return uvloop.run(run())


def chunks(events: int, users: int) -> Iterator[Chunk]:
    rows: list[list[ConsumerRecord]] = [[] for _ in range(PARTITIONS)]
    for event in behaviour.events(events, users):
        key, value = event.user_id.encode(), event_to_wire(event).SerializeToString()
        number = sum(key) % PARTITIONS
        offset, now = len(rows[number]), int(time.time() * 1000)
        rows[number].append(ConsumerRecord("t", number, 0, offset, now, 0, key, value, [], None, 0, 0, 0))
    for first in range(0, max(map(len, rows)), POLL_RECORDS):
        for number, mine in enumerate(rows):
            if some := mine[first : first + POLL_RECORDS]:
                yield Chunk(TopicPartition("t", number), Log("id"), some)


def apart(work: Callable[..., Any], *args: Any) -> Any:
    """Its result, from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, args)


def produce(address: str, topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
    """By librdkafka: those who wait for it are in a group that must not miss them for long."""
    producer = Producer({"bootstrap.servers": address, "linger.ms": 50, "queue.buffering.max.messages": len(records)})
    for key, value in records:
        producer.produce(topic, value, key)
    producer.flush()


class Bench:
    """A broker, a Redis and a folder, the last two with the catalogue and without users."""

    def __init__(self, broker: brokers.Broker, redis: servers.RedisServer, folder: Path) -> None:
        self.broker, self._redis, self._folder, self._runs = broker, redis, folder, 0
        asyncio.run(self._fill())

    async def _fill(self) -> None:
        shared, embedded = await RedisStore.open(self._redis.url), SqliteStore.open(self._folder / "catalogue")
        await behaviour.fill(shared.catalog)
        await behaviour.fill(embedded.catalog)
        await shared.close()
        embedded.close()

    @contextmanager
    def store(self, kind: str) -> Iterator[tuple[str, str]]:
        """(URL of Redis or empty, data folder) of a store without users."""
        self._runs += 1
        folder = self._folder / f"run-{self._runs}"
        folder.mkdir()
        if kind == "redis":
            for pattern in ("ec:p:*", "ec:r:*", "ec:{log}:*"):
                for key in self._redis.client.scan_iter(match=pattern, count=10_000):
                    self._redis.client.delete(key)
            yield self._redis.url, str(folder)
            return
        (folder / "eyecatch.db").write_bytes((self._folder / "catalogue" / "eyecatch.db").read_bytes())
        yield "", str(folder)

    def bytes_per_user(self) -> float:
        keys = list(self._redis.client.scan_iter(match="ec:p:*", count=10_000))
        return statistics.mean(self._redis.client.memory_usage(key) for key in keys)

    def against_bare(self, events: int, users: int, rounds: int) -> dict[str, float]:
        records = [
            (event.user_id.encode(), event_to_wire(event).SerializeToString())
            for event in behaviour.events(events, users)
        ]
        rates: dict[str, list[float]] = {"bare": [], "redis": [], "redis_one": [], "sqlite_one": []}
        size = 0.0
        for n in range(rounds):
            for side in sorted(rates, reverse=n % 2 == 0):
                topic = self.broker.create(partitions=PARTITIONS)
                fill = partial(produce, self.broker.address, topic, records)
                if side == "bare":
                    fill()
                    rates[side].append(apart(bare, self.broker.address, topic, events))
                    continue
                kind, _, one = side.partition("_")
                with self.store(kind) as (url, folder):
                    config = IngestConfig(
                        kafka=self.broker.address,
                        events_topic=topic,
                        group=topic,
                        store=url,
                        data_dir=folder,
                        health_port=0,
                        processes=1 if one else min(PARTITIONS, os.cpu_count() or 1),
                    )
                    rates[side].append(ours(config, fill, events))
                    size = self.bytes_per_user() if kind == "redis" else size
        result = {"bytes_per_user": size}
        for side, figures in rates.items():
            result[f"events_per_s_{side}"] = statistics.median(figures)
            if side != "bare":
                result[f"throughput_ratio_{side}"] = statistics.median(
                    a / b for a, b in zip(figures, rates["bare"], strict=True)
                )
        return result

    def from_memory(self, events: int, users: int, rounds: int) -> dict[str, float]:
        figures: dict[str, list[float]] = {}
        for _ in range(rounds):
            for kind in ("redis", "sqlite"):
                for still in (False, True):
                    with self.store(kind) as where:
                        rate = apart(memory, events, users, *where, still)
                    figures.setdefault(f"memory_{kind}{'_still' if still else ''}", []).append(rate.cpu)
        return {name: statistics.median(values) for name, values in figures.items()}


def as_figures(figures: dict[str, float], suffix: str = "") -> dict[str, float]:
    """The same with longer names, printed."""
    named = {f"{name}{suffix}": value for name, value in figures.items()}
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with brokers.running() as broker, servers.running() as redis, tempfile.TemporaryDirectory() as scratch:
        bench = Bench(broker, redis, Path(scratch))
        figures = as_figures(bench.against_bare(args.events, 500, args.rounds))
        figures |= as_figures(bench.against_bare(args.events, 10_000, args.rounds), "_10k")
        figures |= as_figures(bench.from_memory(args.events, 500, args.rounds))
        figures |= as_figures(bench.from_memory(args.events, 10_000, 1), "_10k")
        with bench.store("redis") as (url, folder):
            figures |= as_figures(freshness(broker, url, folder, args.seconds))
    figures |= {"throughput_ratio": figures["throughput_ratio_redis"], "events_per_s": figures["events_per_s_redis"]}
    report(figures)


if __name__ == "__main__":
    main()
