"""The product as a user runs it: our own commands in their own processes, the shipped starter, the sample catalogue."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import eyecatch
import pytest
from eyecatch.client import Client, connect

from tests.processes import owned

SAMPLE = Path(eyecatch.__file__).parent / "sample"
EYECATCH = (sys.executable, "-m", "eyecatch.cli")


def run(*args: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run one of our commands to its end."""
    done = subprocess.run([*EYECATCH, *args], capture_output=True, text=True, timeout=300, **options)
    assert not check or done.returncode == 0, f"eyecatch {' '.join(args)}: {done.stdout}\n{done.stderr}"
    return done


def run_json(*args: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(run(*args, "--json").stdout.splitlines()[-1])
    return parsed


@contextmanager
def serving(data_dir: Path, *flags: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server process on a free port: (address, process). It must leave with status 0 on SIGTERM unless it was killed."""
    process = subprocess.Popen(
        owned(*EYECATCH, "serve", "--data-dir", str(data_dir), "--port", "0", "--grace-s", "0", *flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        assert "ready on" in line, process.communicate()
        yield line.split()[-1], process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
            assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


@contextmanager
def reporting(*args: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A process that tells its health, told to choose a port: (address of the page, process). Killed at the end if it still runs."""
    process = subprocess.Popen(
        owned(*EYECATCH, *args, "--health-port", "0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        assert "health on" in line, process.communicate()
        yield line.split()[-1], process
    finally:
        process.kill()
        process.communicate()


def two_tastes(table: Path) -> Path:
    """A table of events of sixty users, half of whom like covers in ink, half those in 3d."""
    with (SAMPLE / "covers.csv").open(encoding="utf-8") as file:
        covers = list(csv.DictReader(file))
    liked = [[c for c in covers if c["style"] == style][:16] for style in ("ink", "3d")]
    rows = [
        f"u{user},{cover['item_id']},{1_700_000_000 + 60 * n},like,{cover['cover_id']}"
        for user in range(60)
        for n, cover in enumerate(liked[user % 2])
    ]
    table.write_text("\n".join(["user_id,item_id,timestamp,action,cover_id", *rows]))
    return table


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the whole sample, to be copied and never written."""
    folder = tmp_path_factory.mktemp("sample") / "data"
    for what in ("items", "covers", "events"):
        run("import", what, str(SAMPLE / f"{what}.csv"), "--data-dir", str(folder))
    return folder


@pytest.fixture
def data_dir(imported: Path, tmp_path: Path) -> Path:
    """A fresh copy of the sample's data folder."""
    return Path(shutil.copytree(imported, tmp_path / "data"))


@pytest.fixture(scope="module")
def server(imported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on a copy of the sample, shared by the tests of one file."""
    folder = shutil.copytree(imported, tmp_path_factory.mktemp("served") / "data")
    with serving(folder, "--exploration", "0", "--made-covers", "trusted") as (address, _):
        yield address


@pytest.fixture
def client(server: str) -> Iterator[Client]:
    with connect(server) as connected:
        yield connected
