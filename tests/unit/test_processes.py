"""Servers of tests die with the process that started them, also when that is killed and cannot end them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import until

pytestmark = pytest.mark.server

STARTERS = {
    "redis": "from tests.servers import running\nwith running() as server: pid = server.process.pid; hold()",
    "kafka": "from tests.broker import running\nwith running() as server: pid = server._process.pid; hold()",
    "triton": "from tests.triton import running\nwith running(models=('cover_scorer',)) as server:\n"
    "    pid = server.ready().process.pid; hold(*server.model_processes())",
}
HOLD = """
def hold(*children):
    print(pid, *children, flush=True)
    input()
"""


def gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or ") Z " in stat.read_text()


@pytest.mark.parametrize("name", STARTERS)
def test_a_server_does_not_outlive_a_starter_that_is_killed(name: str) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", HOLD + STARTERS[name]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert starter.stdout is not None
    pids = [int(pid) for pid in starter.stdout.readline().split()]
    assert pids
    assert not any(map(gone, pids))
    starter.send_signal(signal.SIGKILL)
    starter.communicate()
    try:
        until(lambda: all(map(gone, pids)), f"the end of {name} and its children")
    finally:
        for pid in pids:
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)
