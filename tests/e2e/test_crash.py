"""Crashes while events flow: ingest is killed, its broker cut off, its store restarted; a clean pass over the log then finds the same.

The broker itself is never restarted: it keeps its log in memory. Which moments are hit is seeded as far as clocks allow.
"""

import asyncio
import json
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.errors import Unavailable
from eyecatch.core.types import Action, Event, Position, Profile
from eyecatch.ingest.events import decode
from eyecatch.kafka.client import Brokers
from eyecatch.kafka.offsets import Log
from eyecatch.kafka.producer import Outgoing, Producer
from eyecatch.reader_config import IngestConfig
from eyecatch.wiring.stores import current_encoder, open_stores
from kafka.consumer.fetcher import ConsumerRecord

from tests.broker import Broker, running_behind_a_proxy
from tests.contracts.builders import cover, item
from tests.e2e.conftest import EYECATCH
from tests.e2e.test_ingest import health
from tests.processes import owned
from tests.proxy import Proxy
from tests.servers import RedisServer, running, until
from tests.unit.ingest.helpers import record, settings

USERS = [f"u{n}" for n in range(500)]
ITEMS = [f"i{n}" for n in range(40)]
PARTITIONS = 4
GROUP = "eyecatch-ingest"
QUICK = ("--session-s", "1", "--check-s", "0.2", "--kafka-timeout-s", "1", "--batch-max", "500")


class Writer:
    """Numbered events, and one record in a hundred that is none: some 600 a second until `stop`, sent again until acknowledged."""

    def __init__(self, kafka: Broker, topic: str, seed: int) -> None:
        self._kafka, self._topic, self._rng = kafka, topic, random.Random(seed)
        self._stopping = threading.Event()
        self.written: list[Event] = []
        self.broken = self.again = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._write()), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    async def _write(self) -> None:
        producer = Producer(settings(self._kafka, self._topic, Path(), kafka_timeout_s=1.0).kafka_client())
        while not self._stopping.is_set():
            events = [self._event(len(self.written) + n) for n in range(30)]
            sent = [Outgoing(self._topic, key, value) for key, value in record(*events)]
            if self._rng.random() < 0.3:
                sent.append(Outgoing(self._topic, events[0].user_id.encode(), b'{"broken": %d' % self.broken))
                self.broken += 1
            while not await self._acknowledged(producer, sent):
                self.again += 1
            self.written += events
            await asyncio.sleep(0.05)
        await producer.close()

    async def _acknowledged(self, producer: Producer, sent: Sequence[Outgoing]) -> bool:
        try:
            await producer.send(sent)
        except Unavailable:  # some may be there, and come a second time
            return False
        return True

    def _event(self, number: int) -> Event:
        rng = self._rng
        action = rng.choices(list(Action), [8, 3, 2, 1, 1, 2])[0]
        dwell_ms = rng.randrange(60_000) if action is Action.DWELL else 0
        shown = rng.choice(ITEMS)
        return Event(f"e{number}", rng.choice(USERS), shown, action, 1e9 + number / 10, f"{shown}-cover", "", dwell_ms)


@dataclass
class Scene:
    """What can break. `store` is None where it lives and dies with the process (SQLite)."""

    kafka: Broker
    proxy: Proxy
    store: RedisServer | None
    config: IngestConfig
    rng: random.Random
    log: Path
    done: Counter[str]

    @contextmanager
    def ingesting(self) -> Iterator[subprocess.Popen[str]]:
        c = self.config
        where = ("--kafka", c.kafka, "--events-topic", c.events_topic, "--store", c.store, "--data-dir", c.data_dir)
        command = [*EYECATCH, "ingest", *where, *QUICK, "--health-port", "0"]
        with self.log.open("a") as log:
            process = subprocess.Popen(owned(*command), stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def pause(self, most: float) -> None:
        """The moments of faults are what is random here; nothing is waited for."""
        time.sleep(self.rng.uniform(0, most))

    def fail(self, kind: str) -> Callable[[], None]:
        """Begin a fault; calling what it gives ends it."""
        self.done[kind] += 1
        match kind:
            case "store":
                assert self.store is not None
                self.store.client.connection_pool.disconnect()
                self.store.process.send_signal(self.rng.choice([signal.SIGKILL, signal.SIGTERM]))
                self.store.process.wait()
                return self.store.start
            case "delay":
                self.proxy.delay(0.2)
            case "reset":
                self.proxy.reset()
            case "cut":
                self.proxy.cut()
            case "half-open":
                self.proxy.half_open()
        return self.proxy.mend

    def round(self, kind: str) -> None:
        """One life of a process: a fault begins while it works, and SIGKILL comes during the fault, or after it was overcome."""
        with self.ingesting() as process:
            if kind == "start":
                self.pause(4.0)
            else:
                address = ready(process)
                until(lambda: new(address) > 0, "events absorbed", 60)
                mend = self.fail(kind)
                self.pause(1.5)
                if self.rng.random() < 0.5:
                    mend()
                    before = new(address)
                    until(lambda: new(address) > before, f"events absorbed after {kind}", 60)
                    self.pause(0.3)
                    mend = self.proxy.mend
                self._kill(process)
                return mend()
            self._kill(process)

    def _kill(self, process: subprocess.Popen[str]) -> None:
        assert process.poll() is None, self.log.read_text()[-2000:]
        process.kill()
        assert process.wait() == -signal.SIGKILL
        self.done["kill"] += 1

    def catch_up(self, total: int) -> None:
        """A last life without faults: to the end of the log, then a calm end."""
        with self.ingesting() as process:
            ready(process)
            until(lambda: sum(self._committed().values()) == total, "the end of the log", 120)
            process.terminate()
            assert process.wait(30) == 0, self.log.read_text()[-2000:]

    def _committed(self) -> Mapping[int, int]:
        return self.kafka.committed(GROUP, self.config.events_topic, PARTITIONS)


def ready(process: subprocess.Popen[str]) -> str:
    """Address of its health page, once that is answered."""
    line = process.stdout.readline() if process.stdout else ""
    assert "health on" in line
    return line.split()[-1]


def new(address: str) -> int:
    """Events that this process was the first to absorb."""
    page = health(address.replace("/health", "/metrics"))[1]
    actual = re.search(r'events_total\{outcome="new"\} (\S+)', page)
    return int(float(actual[1])) if actual else 0


async def furnish(config: IngestConfig) -> None:
    """Covers, so that user embeddings depend on what was liked."""
    async with open_stores(config) as stores:
        covers = [cover(f"{id}-cover", id, seed) for seed, id in enumerate(ITEMS)]
        await stores.catalog.upsert_items([item(id) for id in ITEMS], covers)


async def profiles(config: IngestConfig) -> dict[str, Profile | None]:
    async with open_stores(config) as stores:
        return {user: await stores.profiles.profile(user) for user in USERS}


async def rebuild(config: IngestConfig, log: Sequence[ConsumerRecord]) -> dict[str, Profile | None]:
    """The whole log in order into a fresh store, in one clean pass."""
    brokers = Brokers(config.kafka_client())
    actual = brokers.topic(config.events_topic)
    brokers.close()
    assert actual is not None
    name, now = Log(actual.id).name(config.events_topic), time.time()
    arrivals = [(e, Position(name, r.partition, r.offset)) for r in log if isinstance(e := decode(r, now), Event)]
    await furnish(config)
    async with open_stores(config) as stores:
        encoder = await current_encoder(config, stores)
        for first in range(0, len(arrivals), 5000):
            events, positions = zip(*arrivals[first : first + 5000], strict=True)
            await stores.profiles.absorb(events, encoder, positions)
    return await profiles(config)


def differences(actual: Mapping[str, Profile | None], expected: Mapping[str, Profile | None]) -> list[tuple[str, str]]:
    """(user, field) wherever two differ, but for when they were stored."""
    wrong = []
    for user, a in actual.items():
        b = expected[user]
        if a is None or b is None:
            wrong += [(user, "profile")] if a is not b else []
            continue
        wrong += [
            (user, f.name)
            for f in fields(Profile)
            if f.name not in ("embedding", "updated_at") and getattr(a, f.name) != getattr(b, f.name)
        ]
        if not np.array_equal(a.embedding, b.embedding):
            wrong.append((user, "embedding"))
    return wrong


def crash(scene: Scene, fresh: IngestConfig, kinds: Sequence[str], seed: int) -> dict[str, object]:
    """A round for each kind while a producer writes, then the comparison; the figures."""
    topic, started = scene.config.events_topic, time.monotonic()
    asyncio.run(furnish(scene.config))
    writer = Writer(scene.kafka, topic, seed)
    try:
        for kind in kinds:
            scene.round(kind)
    finally:
        scene.proxy.mend()
        writer.stop()
    log = scene.kafka.records(topic)
    scene.catch_up(len(log))
    took = time.monotonic() - started

    now = time.time()
    decoded = [(record, decode(record, now)) for record in log]
    logged = Counter(event.id for _, event in decoded if isinstance(event, Event))
    assert logged.keys() == {event.id for event in writer.written}, "what was acknowledged is in the log"
    actual = asyncio.run(profiles(scene.config))
    counts = Counter(event.user_id for event in writer.written)
    assert {user: profile.event_count for user, profile in actual.items() if profile} == counts, "each event once"
    exact = asyncio.run(rebuild(fresh, log))
    assert differences(actual, exact) == []
    letters = scene.kafka.records(f"{topic}.dlq")
    sources = {(s["partition"], s["offset"]) for x in letters if (s := json.loads(dict(x.headers)["eyecatch-source"]))}
    assert sources == {(r.partition, r.offset) for r, event in decoded if not isinstance(event, Event)}
    return {
        **scene.done,
        "events": len(writer.written),
        "twice_in_the_log": logged.total() - len(logged),
        "dead": len(sources),
        "letters": len(letters),
        "users": len(counts),
        "seconds": round(took),
    }


@pytest.fixture
def broker() -> Iterator[tuple[Broker, Proxy]]:
    with running_behind_a_proxy() as both:
        yield both


def play(broker: tuple[Broker, Proxy], folder: Path, store: str, kinds: Sequence[str], seed: int) -> None:
    kafka, proxy = broker
    topic = kafka.create(partitions=PARTITIONS)
    lasting = ("--appendonly", "yes", "--appendfsync", "always")
    with running(*lasting) as redis, running() as other:
        used, fresh = (redis.url, other.url) if store == "redis" else ("", "")
        config = settings(kafka, topic, folder / "live", store=used)
        server = redis if used else None
        scene = Scene(kafka, proxy, server, config, random.Random(seed), folder / "log", Counter())
        figures = crash(scene, settings(kafka, topic, folder / "fresh", store=fresh), kinds, seed)
    print(store, json.dumps(figures))


@pytest.mark.parametrize(("store", "kinds"), [("redis", ["store", "half-open"]), ("sqlite", ["cut"])])
def test_a_few_crashes(broker: tuple[Broker, Proxy], tmp_path: Path, store: str, kinds: list[str]) -> None:
    play(broker, tmp_path, store, kinds, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("store", ["redis", "sqlite"])
def test_thirty_crashes(broker: tuple[Broker, Proxy], tmp_path: Path, store: str) -> None:
    kinds = ["start", "reset", "half-open", "cut", "delay", "store" if store == "redis" else "start"] * 5
    random.Random(7).shuffle(kinds)
    play(broker, tmp_path, store, kinds, seed=7)
