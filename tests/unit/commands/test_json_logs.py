"""With JSON logs a process writes one object a line, whatever it has to say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from eyecatch.client import connect
from eyecatch.v1 import catalog_pb2, types_pb2

from tests.fakes import picture
from tests.processes import owned
from tests.servers import free_port

CRASH = """
import logging, sys, threading, warnings
from eyecatch.observe.logs import configure
configure("json")
logging.getLogger("library").warning("from a %s", "library")
warnings.warn("old", DeprecationWarning)
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise KeyError("at the end")
"""


def objects(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_libraries_warnings_and_crashes_are_lines_too() -> None:
    done = subprocess.run([sys.executable, "-Wdefault", "-c", CRASH], capture_output=True, text=True, check=False)
    library, warning, thread, end = objects(done.stderr)
    assert (library["event"], library["logger"], library["level"]) == ("from a library", "library", "warning")
    assert "DeprecationWarning: old" in str(warning["event"])
    assert "ZeroDivisionError" in str(thread["exception"])
    assert "KeyError: 'at the end'" in str(end["exception"])
    assert done.returncode == 1


@pytest.mark.parametrize("command", ["serve", "ingest"])
def test_a_process_that_fails_says_why_in_json(command: str, tmp_path: Path) -> None:
    flags = ["--log-format", "json", "--data-dir", str(tmp_path), "--store", f"redis://127.0.0.1:{free_port()}"]
    flags += ["--kafka", "127.0.0.1:9"] if command == "ingest" else []
    done = subprocess.run(
        [sys.executable, "-m", "eyecatch.cli", command, *flags], capture_output=True, text=True, check=False
    )
    settings, *_, last = objects(done.stderr)
    assert settings["event"] == "settings"
    assert settings["data_dir"] == str(tmp_path)
    assert last["event"] == "failed"
    assert re.search("cannot use redis", str(last["why"]))
    assert (done.stdout, done.returncode) == ("", 1)


@pytest.mark.parametrize("by_environment", [True, False])
def test_settings_that_are_refused_are_told_in_json(by_environment: bool, tmp_path: Path) -> None:
    flags = ["--data-dir", str(tmp_path), "--jobs", "0", *([] if by_environment else ["--log-format", "json"])]
    environment = os.environ | ({"EYECATCH_LOG_FORMAT": "json"} if by_environment else {})
    command = [sys.executable, "-m", "eyecatch.cli", "serve", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    (line,) = objects(done.stderr)
    assert (line["event"], done.returncode) == ("failed", 1)
    assert "jobs: got 0" in str(line["why"])


def test_a_whole_life_is_json(tmp_path: Path) -> None:
    """With the starter loaded, which is when libraries like to talk."""
    flags = ["--log-format", "json", "--data-dir", str(tmp_path), "--port", "0", "--grace-s", "0"]
    process = subprocess.Popen(
        owned(sys.executable, "-m", "eyecatch.cli", "serve", *flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines: list[str] = []
    while not lines or objects(lines[-1])[0]["event"] != "ready":
        lines.append(process.stderr.readline())
    item = types_pb2.Item(id="a", title="a", references=[types_pb2.Image(data=picture("red"))])
    with connect(f"127.0.0.1:{objects(lines[-1])[0]['port']}") as client:
        client.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[item]), timeout=60)
    process.terminate()
    output, rest = process.communicate(timeout=60)
    events = [line["event"] for line in objects("".join(lines) + rest)]
    assert (events[0], events[-1], output) == ("settings", "stopped", "")
