"""A client that cancels whatever it sends leaves no memory behind."""

import asyncio
import struct
import time
from pathlib import Path

import pytest

from benchmarks.fast_path import fill, ours, requests
from benchmarks.http2_load import RESET, Connection, Outcomes, frame
from benchmarks.load import METHOD
from tests.faults.table import Row, Table

CALLS, AT_ONCE, USERS = 100_000, 50, 1000
CANCEL = struct.pack(">I", 8)
ALLOWED_MB = 16.0
"""Of which SQLite keeps the pages that it wrote, 32 MB at most."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Cancelling(Connection):
    def cancel_all(self) -> None:
        for stream in self._calls:
            self._transport.write(frame(RESET, 0, stream, CANCEL))
        self._calls.clear()


async def storm(port: int, calls: int) -> None:
    loop, sent = asyncio.get_running_loop(), requests(USERS, 1000)
    make = lambda: Cancelling(METHOD, 5.0, Outcomes(), False)  # noqa: E731
    connection = (await loop.create_connection(make, "127.0.0.1", port))[1]
    for n in range(0, calls, AT_ONCE):
        for k in range(AT_ONCE):
            connection.send(sent[(n + k) % len(sent)], time.perf_counter())
        await asyncio.sleep(0.001)
        connection.cancel_all()
        await asyncio.sleep(0.004)
    connection.close()
    await asyncio.sleep(2.0)  # the server is done with what it had begun


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


async def test_cancelled_calls_leave_no_memory_behind(tmp_path: Path, table: Table) -> None:
    await fill(tmp_path, USERS)
    with ours(tmp_path) as (port, pid):
        await storm(port, CALLS)
        before = resident_mb(pid)
        await storm(port, CALLS)
        more = resident_mb(pid) - before
    assert more <= ALLOWED_MB
    text = f"{before:.0f} MB before, {more:+.1f} MB after"
    table.add(f"{CALLS:,} cancelled calls", Row(f"at most {ALLOWED_MB:.0f} MB more", text))
