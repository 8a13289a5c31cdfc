"""How fast `eyecatch import` is, beside the way before, in one run.

    python -m benchmarks.importing [--items 2000] [--events 40000] [--pictures 128] [--rounds 2]

Items without pictures, items with pictures of 600 x 900 pixels (decoded, embedded and stored), and events, into SQLite. The way before
is the same code with what it did: WebP's slower encoder, two threads for decoding, a picture made small pixel by pixel and run through
the trunk by each judge, events a thousand at a time with their users encoded each time. Both ways take turns, each in a process of its
own, and a rate is the median of its rounds. On a machine with other work only ratios mean something, best those of seconds of the
processor (`_cpu_`). `memory_at`: MiB resident when 10 %, 50 % and all of the pictures were stored. The last line is JSON: the new way,
and the way before under `before`.
"""

import argparse
import asyncio
import gc
import io
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import icg.pictures
import numpy as np
from eyecatch import pictures
from eyecatch.config import Config
from eyecatch.generators import local
from eyecatch.importing import Report, Table, events, import_events, import_items, items
from eyecatch.wiring.stores import Parts, open_parts
from icg.models import trunk
from PIL import Image

SIZE = (600, 900)
USERS = 2000
PARTS = (0.1, 0.5, 1.0)


class ProgressWatch:
    """The longest time between two reports of progress, in seconds, the first from the start; resident MiB by parts of the table."""

    def __init__(self) -> None:
        self.silent_s, self._last = 0.0, time.perf_counter()
        self.memory_at: dict[float, float] = {}

    def __call__(self, fraction: float, report: Report) -> None:
        now = time.perf_counter()
        self.silent_s, self._last = max(self.silent_s, now - self._last), now
        for part in PARTS:
            if fraction >= part:
                self.memory_at.setdefault(part, _resident())


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def photograph(seed: int) -> bytes:
    """A JPEG of soft shapes and noise, of about 100 KB."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray((rng.random((9, 6, 3)) * 255).astype(np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
    noisy = np.asarray(shapes) + rng.standard_normal((SIZE[1], SIZE[0], 3)) * 6
    out = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=88)
    return out.getvalue()


def tables(folder: Path, count: argparse.Namespace) -> None:
    rng = random.Random(1)
    for n in range(count.pictures):
        (folder / f"{n}.jpg").write_bytes(photograph(n))
    (folder / "items.csv").write_text("id,title\n" + "".join(f"i{n},Title {n}\n" for n in range(count.items)))
    rows = "".join(f"p{n},Picture {n},{n}.jpg\n" for n in range(count.pictures))
    (folder / "pictures.csv").write_text("id,title,image\n" + rows)
    lines = (
        f"u{rng.randrange(USERS)},p{rng.randrange(count.pictures)},{1_700_000_000 + n},{rng.choice(['click', 'impression'])}\n"
        for n in range(count.events)
    )
    (folder / "events.csv").write_text("user,item,time,action\n" + "".join(lines))


def as_before() -> None:
    """The settings of the way before."""
    pictures.METHOD = 4
    items.cores = lambda: 2
    items.FIRST = items.BATCH
    events.BATCH = 1000
    local.LocalGenerator._common_side = lambda self: 0  # type: ignore[method-assign]
    trunk.one_pass = nullcontext  # type: ignore[assignment]
    icg.pictures.REDUCING_GAP = None  # type: ignore[assignment]


@dataclass
class Clock:
    """Seconds, and seconds of the processor, since the start."""

    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)

    def of(self, name: str, rows: int) -> dict[str, float]:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {f"{name}_per_s": rows / wall, f"{name}_cpu_ms": 1000 * cpu / rows}


async def measure(folder: Path, data: Path, before: bool) -> dict[str, float]:
    rates: dict[str, float] = {}
    async with open_parts(Config(data_dir=str(data))) as parts:
        await parts.generator.score([photograph(0)], ["x"])  # models are loaded
        if not before:
            gc.freeze()  # as the command does
        for name in ("items", "pictures"):
            watch, clock = ProgressWatch(), Clock()
            table = Table(folder / f"{name}.csv")
            report = await import_items(table, folder, parts.catalog, parts.blobs, progress=watch)
            rates |= clock.of(name, report.accepted)
        rates["pictures_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rates |= {f"memory_at_{round(100 * part)}": value for part, value in watch.memory_at.items()}
        rates |= await _events(folder, parts, watch, before)
    return rates | {"silent_s": watch.silent_s}


async def _events(folder: Path, parts: Parts, watch: ProgressWatch, before: bool) -> dict[str, float]:
    if before:
        events.LATER = parts.encoder  # type: ignore[assignment]
    clock = Clock()
    stores = (parts.store.profiles, parts.store.catalog, parts.encoder)
    report = await import_events(Table(folder / "events.csv"), *stores, progress=watch)
    return clock.of("events", report.accepted)


def _of(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(one[name] for one in rounds), 3) for name in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("items", 2000), ("events", 40_000), ("pictures", 128), ("rounds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--way", choices=("new", "before"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.way:
            if arguments.way == "before":
                as_before()
            print(json.dumps(asyncio.run(measure(arguments.folder, Path(name), arguments.way == "before"))))
            return
        folder = Path(name)
        tables(folder, arguments)
        rounds: dict[str, list[dict[str, Any]]] = {"before": [], "new": []}
        for n in range(arguments.rounds):
            for way, results in rounds.items():
                command = [sys.executable, "-m", "benchmarks.importing", "--way", way, "--folder", name]
                # The command sets it as well.
                environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
                done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                results.append(json.loads(done.stdout.splitlines()[-1]))
                print(n, way, results[-1], flush=True)
    print(json.dumps(_of(rounds["new"]) | {"before": _of(rounds["before"])}))


if __name__ == "__main__":
    main()
