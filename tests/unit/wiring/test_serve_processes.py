"""Several servers behind one port: they share connections, metrics and health, and end together."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from eyecatch.client import connect
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput, Unavailable
from eyecatch.v1 import catalog_pb2
from eyecatch.wiring.serve_processes import shared_port
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import owned
from tests.servers import RedisServer, free_port, until

CALLS = "rpc_server_call_duration_seconds_count"


@dataclass
class Served:
    port: int
    page: str
    process: "subprocess.Popen[str]"

    def list_items(self) -> None:
        """On a connection of its own."""
        with connect(f"127.0.0.1:{self.port}") as client:
            client.catalog.ListItems(catalog_pb2.ListItemsRequest(), timeout=10)

    def calls(self) -> dict[str, float]:
        """By process."""
        with urlopen(f"{self.page}/metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return {s.labels["process"]: s.value for family in families for s in family.samples if s.name == CALLS}

    def health(self) -> str:
        try:
            with urlopen(f"{self.page}/health", timeout=10) as answer:
                return str(answer.read().decode())
        except HTTPError as error:
            return error.read().decode()


@contextmanager
def served(store: str, folder: Path, *flags: str) -> Iterator[Served]:
    page = free_port()
    command = ["serve", "--processes", "2", "--store", store, "--data-dir", str(folder), "--port", "0", "--no-preload"]
    command += ["--metrics-port", str(page), *flags]
    process = subprocess.Popen(owned(sys.executable, "-m", "eyecatch.cli", *command), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = re.search(r":(\d+)$", process.stdout.readline().strip())
        assert ready
        yield Served(int(ready.group(1)), f"http://127.0.0.1:{page}", process)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.server
def test_both_answer_and_leave_together(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.client.flushall()
    with served(redis_server.url, tmp_path, "--grace-s", "3") as servers:

        def both_answer() -> bool:
            servers.list_items()
            return set(servers.calls()) == {"0", "1"}

        until(both_answer, "connections at both")
        assert servers.health() == "SERVING\n"
        servers.process.send_signal(signal.SIGTERM)
        until(lambda: servers.health().startswith("NOT_SERVING"), "word that they leave")
        servers.list_items()  # the grace
        assert servers.process.wait(30) == 0


@pytest.mark.server
def test_a_member_that_dies_ends_the_command(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.client.flushall()
    with served(redis_server.url, tmp_path, "--grace-s", "0") as servers:
        children = Path(f"/proc/{servers.process.pid}/task/{servers.process.pid}/children").read_text().split()
        members = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        subprocess.run(["kill", "-9", members[1]], check=True)
        assert servers.process.wait(30) == 1


def test_a_taken_port_is_refused() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match=f"cannot listen on 127.0.0.1:{port}"), shared_port("127.0.0.1", port):
            pass


def test_several_processes_need_a_store_that_they_can_share() -> None:
    with pytest.raises(InvalidInput, match="processes: got 2"):
        Config(processes=2)
