"""Processes that start, refuse, drain and die: a second server, a newer database, kill -9, a full disk, tokens."""

import csv
import os
import resource
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import grpc
import pytest
from eyecatch.client import Client, connect
from eyecatch.v1 import behavior_pb2, covers_pb2

from tests.e2e.conftest import EYECATCH, SAMPLE, run, run_json, serving
from tests.processes import owned
from tests.servers import free_port, until
from tests.unit.api.conftest import event

Recommend = covers_pb2.RecommendCoversRequest


def test_a_second_server_on_the_same_folder_is_refused(data_dir: Path) -> None:
    with serving(data_dir, "--no-preload") as (address, process):
        second = run("serve", "--data-dir", str(data_dir), "--port", "0", check=False)
        assert second.returncode == 1
        assert str(process.pid) in second.stderr
        assert "Traceback" not in second.stderr
        imported = run("import", "items", str(SAMPLE / "items.csv"), "--data-dir", str(data_dir), check=False)
        assert imported.returncode == 1
        assert run_json("recommend", "panda", "--server", address)["items"]


def test_a_taken_port_is_a_readable_error(data_dir: Path, tmp_path: Path) -> None:
    with serving(data_dir, "--no-preload") as (address, _):
        port = address.rsplit(":", 1)[1]
        second = run("serve", "--data-dir", str(tmp_path / "other"), "--port", port, check=False)
        assert second.returncode == 1
        assert port in second.stderr
        assert "Traceback" not in second.stderr


def test_a_database_from_a_newer_version_is_left_alone(data_dir: Path) -> None:
    with sqlite3.connect(data_dir / "eyecatch.db") as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    done = run("serve", "--data-dir", str(data_dir), check=False)
    assert done.returncode == 1
    assert "999" in done.stderr


def test_a_redis_that_is_not_there_is_a_readable_error(tmp_path: Path) -> None:
    store = f"redis://eye:hunter2@127.0.0.1:{free_port()}"
    done = run("serve", "--data-dir", str(tmp_path), "--store", store, check=False)
    assert done.returncode == 1
    assert "error: cannot use redis://***@127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_an_acknowledged_event_survives_kill_9(data_dir: Path) -> None:
    with serving(data_dir, "--no-preload") as (address, process), connect(address) as client:
        for n in range(50):
            sent = behavior_pb2.RecordEventsRequest(events=[event(f"k{n}", "kim", "panda")])
            assert client.behavior.RecordEvents(sent, timeout=10).accepted == 1
        process.kill()
        process.wait()
    with serving(data_dir, "--no-preload") as (address, _):
        assert run_json("users", "show", "kim", "--server", address)["event_count"] == "50"


COPIES = 60
"""Of the sample's events: enough that an import is still at work when the first of them are in the file."""


@pytest.mark.slow
def test_kill_9_in_the_middle_of_an_import(tmp_path: Path) -> None:
    """What was imported is whole, and the same command finishes the rest."""
    table = tmp_path / "events.csv"
    with (SAMPLE / "events.csv").open() as file:
        rows = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        for n in range(COPIES):
            out.writerows({**r, "event_id": f"{r['event_id']}-{n}"} for r in rows)
    data = tmp_path / "data"
    run("import", "items", str(SAMPLE / "items.csv"), "--data-dir", str(data))
    command = [*EYECATCH, "import", "events", str(table), "--data-dir", str(data)]
    process = subprocess.Popen(owned(*command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wal = data / "eyecatch.db-wal"
    until(lambda: wal.exists() and wal.stat().st_size > 1_000_000, "the first rows")
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it was still at work"
    done = run_json("import", "events", str(table), "--data-dir", str(data))
    assert done["refused"] == 0
    assert done["unchanged"] > 0
    assert done["accepted"] > 0
    assert done["accepted"] + done["unchanged"] == COPIES * len(rows)
    again = run_json("import", "events", str(table), "--data-dir", str(data))
    assert again == {"accepted": 0, "unchanged": COPIES * len(rows), "refused": 0}
    with sqlite3.connect(data / "eyecatch.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_an_import_says_what_is_stored(tmp_path: Path) -> None:
    table = tmp_path / "items.csv"
    table.write_text("id,title\n" + "".join(f"i{n},Item {n}\n" for n in range(300_000)))
    data = tmp_path / "data"
    command = [*EYECATCH, "import", "items", str(table), "--data-dir", str(data)]
    process = subprocess.Popen(owned(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wal = data / "eyecatch.db-wal"
    until(lambda: wal.exists() and wal.stat().st_size > 1_000_000, "the first rows")
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 5, "a second, and some for a busy machine"
    stored = int(words.partition("stopped after ")[2].split()[0])
    assert f"{stored} rows are stored, and the same command goes on from there" in words
    with sqlite3.connect(data / "eyecatch.db") as db:
        assert db.execute("SELECT count(*) FROM items").fetchone()[0] >= stored > 0
    db.close()


def fill(client: Client) -> tuple[int, grpc.StatusCode | None]:
    """Record events until that fails; how many were accepted, and the code of the failure."""
    accepted = 0
    for n in range(500):
        batch = [event(f"f{n}-{i}", f"full-{n}", "panda", cover_id="c" * 100) for i in range(200)]
        try:
            answer = client.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=batch), timeout=30)
        except grpc.RpcError as error:
            return accepted, error.code()
        accepted += answer.accepted
    return accepted, None


def test_a_full_disk_is_said_and_nothing_is_lost(data_dir: Path) -> None:
    """The file size limit of the process stands for the disk: what was stored stays, reading goes on."""
    size = (data_dir / "eyecatch.db").stat().st_size + (2 << 20)
    process = subprocess.Popen(
        owned(*EYECATCH, "serve", "--data-dir", str(data_dir), "--port", "0", "--no-preload"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: (
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        ),
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        with connect(address) as client:
            accepted, code = fill(client)
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert accepted > 0
            assert (
                client.covers.RecommendCovers(Recommend(user_id="mia", item_ids=["panda"]), timeout=10).items[0].covers
            )
    finally:
        process.kill()
        process.communicate()
    with sqlite3.connect(data_dir / "eyecatch.db") as db:
        stored = db.execute("SELECT count(*) FROM events WHERE user_id LIKE 'full-%'").fetchone()[0]
    db.close()
    assert stored == accepted


def test_a_token_is_asked_for_and_never_printed(data_dir: Path) -> None:
    secret = "correct-horse"
    process_log = ""
    with serving(data_dir, "--no-preload", EYECATCH_API_TOKEN=secret) as (address, process):
        refused = run("recommend", "panda", "--server", address, check=False)
        assert "UNAUTHENTICATED" in refused.stderr
        assert run_json("recommend", "panda", "--server", address, "--api-token", secret)["items"]
        process.send_signal(signal.SIGTERM)
        process_log = "".join(process.communicate(timeout=30))
    assert "api_token" in process_log
    assert secret not in process_log


def test_flags_beat_the_environment_and_bad_values_are_named(tmp_path: Path) -> None:
    environment = {**os.environ, "EYECATCH_PORT": "seventy"}
    done = run("serve", "--data-dir", str(tmp_path), check=False, env=environment)
    assert done.returncode == 1
    assert "EYECATCH_PORT" in done.stderr
    done = run("serve", "--data-dir", str(tmp_path), "--exploration", "3", check=False)
    assert "exploration" in done.stderr
