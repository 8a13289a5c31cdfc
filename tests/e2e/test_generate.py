"""Making covers in processes of their own, on a real broker and a real Redis: killed, drained, poisoned, watched from a server."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from eyecatch.client import connect
from eyecatch.core.types import Cover, Item, Job, JobState, JobStatus
from eyecatch.generate.making import cover_id
from eyecatch.generate.requests import to_record
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.redis import RedisStore, keys
from eyecatch.stores.redis.entries import Entry
from eyecatch.v1 import covers_pb2
from icg import provenance

from tests.broker import Broker
from tests.e2e.conftest import SAMPLE, reporting, run, serving
from tests.e2e.test_ingest import health
from tests.processes import owned
from tests.servers import RedisServer, until

GUITAR = SAMPLE / "covers" / "guitar-0.webp"
QUICK: dict[str, Any] = {"session_s": 1.0, "check_s": 0.2, "lease_s": 2.0, "kafka_timeout_s": 2.0, "health_port": 0}


@pytest.fixture
def store(redis_server: RedisServer) -> RedisServer:
    redis_server.client.flushall()
    return redis_server


@contextmanager
def working(settings: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A worker whose /health answers. Killed at the end if it still runs."""
    command = [sys.executable, "-m", "tests.e2e.tiny_worker", json.dumps({**QUICK, **settings})]
    process = subprocess.Popen(owned(*command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(store: RedisServer, jobs: Sequence[str]) -> tuple[dict[str, JobStatus | None], list[Cover]]:
    """Where jobs stand, and every cover there is."""

    async def look() -> tuple[dict[str, JobStatus | None], list[Cover]]:
        opened = await RedisStore.open(store.url)
        try:
            statuses = {id: await opened.queue.status(id) for id in jobs}
            return statuses, [cover async for cover in opened.catalog.all_covers()]
        finally:
            await opened.close()

    return asyncio.run(look())


def fill(store: RedisServer, items: int, *references: str) -> list[str]:
    async def write() -> None:
        opened = await RedisStore.open(store.url)
        await opened.catalog.upsert_items([Item(id, "guitar", "", references) for id in ids])
        await opened.close()

    ids = [f"i{n}" for n in range(items)]
    asyncio.run(write())
    return ids


def send(kafka: Broker, topic: str, jobs: Sequence[Job]) -> None:
    kafka.produce(topic, [(r.key, r.value) for r in (to_record(job, topic) for job in jobs)])


def at_work(store: RedisServer) -> list[Entry]:
    ids = store.client.zrange(keys.RUNNING, 0, -1)
    return [Entry.of(row) for row in (store.client.hmget(keys.JOBS, ids) if ids else []) if row]


def test_killed_again_and_again_each_job_ends_once(kafka: Broker, store: RedisServer, tmp_path: Path) -> None:
    """Two workers at a time; one of them is killed with SIGKILL in the middle of its jobs, and another one starts, five times."""
    topic, rng = kafka.create(), random.Random(7)
    items = fill(store, 30)
    jobs = [Job(f"j{n}", f"k{n}", items[n % 30], taste=n % 2, count=n % 3 + 1, seed=100 * n) for n in range(60)]
    settings = {"kafka": kafka.address, "requests_topic": topic, "store": store.url, "jobs": 3}
    settings |= {"generated_topic": f"{topic}.made", "data_dir": str(tmp_path), "pool_size": 64}
    several = 0
    with ExitStack() as stack:
        workers = [stack.enter_context(working(settings)) for _ in range(2)]
        send(kafka, topic, jobs)
        for _ in range(5):
            doomed = workers.pop(0)
            assert doomed.stdout is not None
            doomed.stdout.readline()
            until(lambda: bool(at_work(store)), "a job at work", 60)
            time.sleep(rng.uniform(0, 0.3))  # the moment of the fault is what is random here
            assert at_work(store)
            doomed.kill()
            assert doomed.wait() == -signal.SIGKILL
            workers.append(stack.enter_context(working(settings)))

        def over() -> bool:
            nonlocal several
            subjects = [entry.subject for entry in at_work(store)]
            assert len(subjects) == len(set(subjects)), "one job for an item and taste cluster"
            several = max(several, len(subjects))
            return int(store.client.zcard(keys.OVER)) == len(jobs)

        until(over, "the end of all jobs", 60)
    assert several > 1, "several at a time"
    statuses, covers = ask(store, [job.id for job in jobs])
    expected = {job.id: tuple(cover_id(job, job.seed + i) for i in range(job.count)) for job in jobs}
    assert {id: s.cover_ids for id, s in statuses.items() if s and s.state is JobState.DONE} == expected
    assert sorted(c.id for c in covers) == sorted(id for ids in expected.values() for id in ids)
    assert max(s.job.attempts for s in statuses.values() if s) > 1, "some were begun again"
    announced = {record.key for record in kafka.records(f"{topic}.made")}
    assert announced == {item.encode() for item in items}


def generating(
    kafka: Broker, topic: str, store: RedisServer, data_dir: Path, *flags: str
) -> AbstractContextManager[tuple[str, Any]]:
    """`eyecatch generate` with the starter: (address of its health page, process)."""
    where = ("--kafka", kafka.address, "--requests-topic", topic, "--generated-topic", f"{topic}.made")
    quick = ("--session-s", "1", "--check-s", "0.2", "--lease-s", "3")
    return reporting("generate", *where, "--store", store.url, "--data-dir", str(data_dir), *quick, *flags)


def test_covers_of_the_starter_are_drawn_in_another_process(kafka: Broker, store: RedisServer, tmp_path: Path) -> None:
    """From the command line through server, topic, worker and back: progress, a preview, covers, pools; poison; a drain."""
    topic = kafka.create()
    where = ("--kafka", kafka.address, "--requests-topic", topic, "--store", store.url)
    fill(store, 1, asyncio.run(FsspecBlobs(str(tmp_path / "blobs")).put(GUITAR.read_bytes(), "webp")))
    trusting = ("--made-covers", "trusted")
    server_flags = ("--generation", "workers", "--no-preload", "--exploration", "0", *trusting)
    with (
        generating(kafka, topic, store, tmp_path, "--jobs", "2", "--draws-per-cover", "2", *trusting) as (
            health_page,
            worker,
        ),
        serving(tmp_path, *where, *server_flags) as (address, _),
        connect(address) as client,
    ):
        request = covers_pb2.GenerateCoversRequest(item_id="i0", count=3, seed=5, idempotency_key="k")
        updates = list(client.covers.GenerateCovers(request, timeout=60))
        progress = [u.progress for u in updates if u.HasField("progress")]
        covers = [u.cover for u in updates if u.HasField("cover")]
        positions = [p.queue_position for p in progress]
        assert positions == sorted(positions, reverse=True), "a busy machine may tell of the job when it runs already"
        assert progress[-1].step > 0
        assert any(p.preview.startswith(b"RIFF") for p in progress), "six are drawn in two goes"
        assert len(covers) == 3
        assert {c.provenance.seed for c in covers} < set(range(5, 11))
        assert all(provenance.read(c.image)["ai_generated"] for c in covers)
        ranked = covers_pb2.RankCoversRequest(item_id="i0")
        passed = {c.id for c in covers if not c.reasons}

        def shown() -> set[str]:
            return {c.cover_id for c in client.covers.RankCovers(ranked, timeout=10).covers}

        until(lambda: shown() == passed, "the pool's new covers")
        kafka.produce(topic, [(b"a", b"{"), (b"gone", b'{"itemId": "gone"}')])
        until(lambda: len(kafka.records(f"{topic}.dlq")) == 2, "two letters")
        letters = json.loads(run("dlq", "show", "--requests", *where[:4], "--json").stdout)
        assert {letter["reason"] for letter in letters} == {"not-json", "job-failed"}
        assert json.loads(run("dlq", "replay", "--requests", *where[:4], "--json").stdout) == {"replayed": 2}
        assert health(health_page) == (200, "SERVING\n")
        page = health(health_page.replace("/health", "/metrics"))[1]
        assert 'eyecatch_generate_jobs_total{outcome="done"} 1.0' in page
        assert "eyecatch_generate_covers_total 3.0" in page
        worker.send_signal(signal.SIGTERM)
        _, log = worker.communicate(timeout=30)
        assert worker.returncode == 0, log


def test_what_is_missing_is_a_readable_error(tmp_path: Path) -> None:
    for flags, message in [
        (("--store", "redis://127.0.0.1:1"), "allowed: host:port of each broker"),
        (("--kafka", "127.0.0.1:1"), "allowed: redis://"),
    ]:
        done = run("generate", *flags, "--data-dir", str(tmp_path), "--health-port", "0", check=False)
        assert (done.returncode, message in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
    done = run("serve", "--generation", "workers", "--data-dir", str(tmp_path), "--port", "0", check=False)
    assert done.returncode == 1
    assert "generation: got 'workers'; allowed: here, or kafka and store given too" in done.stderr
