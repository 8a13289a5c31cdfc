"""Jobs on a Ray cluster of two workers: the figures of one process, workers that die, and a cluster that ends with its job."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import Origin
from eyecatch.evaluate.recall import recall
from eyecatch.evaluate.settings import RecallSettings
from eyecatch.generate.bulk import Draw, bulk
from eyecatch.shards import OnRay, Shard, ShardResults, key_of, run
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.sqlite import SqliteStore

from tests.unit.evaluate.test_recall import world
from tests.unit.generate.test_bulk import CLUSTERS, EXTENT, OPTIONS, TASTES, OpenFake, filled
from tests.waiting import until

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[OnRay]:
    with OnRay("local", cpus=2) as runner:
        yield runner


def refusing_seven(n: int) -> bytes:
    if n == 7:
        raise InvalidInput.of("n", n, "anything but 7")
    return str(n).encode()


def test_an_error_of_a_shard_ends_the_job_as_it_is(cluster: OnRay, tmp_path: Path) -> None:
    results = ShardResults(tmp_path)
    with pytest.raises(InvalidInput, match="anything but 7"):
        run(refusing_seven, [Shard(key_of(str(n)), n) for n in range(8)], results, cluster)


async def test_recall_on_ray_has_the_figures_of_one_process(cluster: OnRay, tmp_path: Path) -> None:
    store = await world(tmp_path / "data", loyal=True)
    settings = RecallSettings(ks=(20,), peers=True, trials=2, seeds=1, steps=4)
    results = [
        (await recall(store.catalog, store.profiles, settings, **options)).result.as_dict()
        for options in ({}, {"runner": cluster})
    ]
    for result in results:
        for row in result["rankings"].values():
            row.pop("seconds")
    assert results[0] == results[1]
    store.close()


@dataclass(frozen=True, eq=False)
class Watched:
    """Drawing that says in a file when a shard begins and ends in which process, and takes a while."""

    work: Draw
    log: Path
    seconds: float

    def __call__(self, payload: Any) -> bytes:
        self._note("begin")
        time.sleep(self.seconds)
        data = self.work(payload)
        time.sleep(self.seconds)
        self._note("end")
        return data

    def _note(self, what: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{what} {os.getpid()}\n")

    @property
    def model(self) -> str:
        return self.work.model

    def shard(self, orders: Any) -> Shard:
        return self.work.shard(orders)


def workers(log: Path) -> tuple[set[int], int]:
    """Processes that are within a shard, and how many shards began."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.is_file() else []
    last = {int(pid): what for what, pid in lines}
    return {pid for pid, what in last.items() if what == "begin"}, sum(what == "begin" for what, _ in lines)


def kill_workers(log: Path, times: int, over: threading.Event, killed: list[int]) -> None:
    """Kill a random process that is within a shard, again and again, until the job is over."""
    rng = random.Random(5)
    while len(killed) < times and not over.is_set():
        busy = sorted(workers(log)[0] - set(killed))
        if busy:
            killed.append(rng.choice(busy))
            os.kill(killed[-1], signal.SIGKILL)
        over.wait(0.1 + rng.random() / 2)


async def test_workers_killed_ten_times_leave_nothing_out_and_nothing_twice(cluster: OnRay, tmp_path: Path) -> None:
    store, blobs = SqliteStore.open(tmp_path), FsspecBlobs(str(tmp_path / "blobs"))
    items = 64
    await filled(store, blobs, items)
    draw = Draw(OpenFake(str(tmp_path / "blobs")), "model")
    watched = Watched(draw, tmp_path / "log", 0.3)
    killed, over = list[int](), threading.Event()
    killer = threading.Thread(target=kill_workers, args=(tmp_path / "log", 10, over, killed))
    killer.start()
    try:
        results = ShardResults(tmp_path / "job")
        parts = store.catalog, store.queue, blobs, watched, OPTIONS, CLUSTERS, EXTENT, results, cluster
        counts = await bulk(*parts)  # type: ignore[arg-type]
    finally:
        over.set()
        killer.join()
    assert len(killed) == 10
    assert workers(tmp_path / "log")[1] >= items + 10  # what was killed ran again
    assert counts == {"drawn": items * TASTES, "covers": items * TASTES, "had its covers": 0}
    drafts = [cover async for cover in store.catalog.all_covers() if cover.provenance.origin is Origin.GENERATED]
    pairs = Counter((cover.item_id, cover.taste) for cover in drafts)
    assert pairs == Counter((f"i{n:03}", taste) for n in range(items) for taste in (0, 2, 3))
    stored = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert len(stored) == len({cover.uri for cover in drafts}) + 1  # and the items' own picture
    store.close()


DRIVER = """
import sys, time
from pathlib import Path
from eyecatch.shards import OnRay, Shard, ShardResults, run
from tests.e2e.test_ray import slowly
with OnRay("local", cpus=1) as ray:
    print("started", flush=True)
    run(slowly, [Shard(f"{n:032x}", n) for n in range(12)], ShardResults(Path(sys.argv[1])), ray)
    print("done", flush=True)
"""


def slowly(n: int) -> bytes:
    time.sleep(0.5)
    return str(n).encode()


def descendants(pid: int) -> set[tuple[int, str]]:
    """Processes below this one, with their start times, as pids come again."""
    out, waiting = set[tuple[int, str]](), [pid]
    while waiting:
        for path in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            for child in path.read_text().split():
                with suppress(OSError):
                    out.add((int(child), started(int(child))))
                    waiting.append(int(child))
    return out


def started(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def alive(process: tuple[int, str]) -> bool:
    pid, start = process
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return started(pid) == start and state != "Z"
    except OSError:
        return False


def test_a_job_that_is_killed_takes_its_cluster_along_and_its_next_run_does_the_rest(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "started\n"
        asyncio.run(until(lambda: len(files(tmp_path)) >= 2, "two shards", 120))
        below = descendants(driver.pid)
        driver.kill()
    assert len(below) >= 3  # the cluster and its worker
    asyncio.run(
        until(lambda: not any(map(alive, below)), "the end of the cluster", 180)
    )  # its workers look for it for a minute
    before = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    assert 2 <= len(before) < 12
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "started\ndone\n"
    after = files(tmp_path)
    assert len(after) == 12
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tmp"]
