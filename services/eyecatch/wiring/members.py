"""Several processes behind one command and one page. Knows how to start processes, not what they do.

A Python process uses one core; so members share the partitions of a consumer group, or the connections of a port.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Thread
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import structlog
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from eyecatch.core.errors import EyecatchError, Unavailable
from eyecatch.observe.page import Registered
from eyecatch.wiring.process import share_memory

log = structlog.get_logger(__name__)

HOST = "127.0.0.1"
HEALTH, METRICS = "/health", "/metrics"
TIMEOUT_S = 2.0
_open = build_opener(ProxyHandler({})).open  # without the proxies of the environment

Work = Callable[[Callable[[int], None]], None]
"""Runs until SIGTERM, and calls back with the port of its page when that answers. Pickled by name, so a module's function."""


class MembersPage(Registered):
    """One page for all members: each metric and each problem has the number of its process."""

    def __init__(self, ports: Mapping[int, int]) -> None:
        super().__init__()
        self._ports = ports
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for process, port in sorted(self._ports.items()):
            for family in text_string_to_metric_families(_get(port, METRICS)[1]):
                whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                whole.samples += [s._replace(labels={**s.labels, "process": str(process)}) for s in family.samples]
        yield from families.values()

    def text(self) -> str:
        """SERVING, or NOT_SERVING and a line for each problem."""
        problems: list[str] = []
        for process, port in sorted(self._ports.items()):
            well, text = _get(port, HEALTH)
            problems += [] if well else [f"process {process}: {line}" for line in text.splitlines()[1:]]
        return "\n".join(["NOT_SERVING", *problems] if problems else ["SERVING"])


@dataclass(frozen=True)
class Members:
    """Running processes: their pages as one, a future that gets Unavailable when the first of them ends, and SIGTERM for all."""

    page: MembersPage
    ended: "asyncio.Future[None]"
    stop: Callable[[], Awaitable[None]]
    """Returns when all have ended. Until then the page answers."""


@asynccontextmanager
async def run_members(name: str, works: Sequence[Work]) -> AsyncIterator[Members]:
    """Run each work in a process, named after `name` and its number.

    At the end of the context they are stopped; if this process dies, they get SIGTERM too. Raises Unavailable if one ends before it
    is ready.
    """
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    processes: list[BaseProcess] = []
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end(number: int) -> None:
        loop.remove_reader(processes[number].sentinel)
        processes[number].join()  # it has ended; this reads its exit code
        if not ended.done():
            ended.set_exception(_ended(number, processes[number]))

    async def stop() -> None:
        for process in processes:
            loop.remove_reader(process.sentinel)
            process.terminate()
        for process in processes:
            await asyncio.to_thread(process.join)

    try:
        for number, work in enumerate(works):
            ours, theirs = context.Pipe()
            pipes.append(ours)
            new = context.Process(target=_member, args=(work, theirs), name=f"{name}-{number}")
            new.start()
            processes.append(new)
            theirs.close()
        ports = {
            number: await _port(number, *member) for number, member in enumerate(zip(pipes, processes, strict=True))
        }
        for number, process in enumerate(processes):
            loop.add_reader(process.sentinel, end, number)
        yield Members(MembersPage(ports), ended, stop)
    finally:
        await stop()
        if ended.done():
            ended.exception()  # mark the exception as retrieved


async def _port(number: int, pipe: Connection, process: BaseProcess) -> int:
    try:
        port: int = await asyncio.to_thread(pipe.recv)
    except EOFError:
        await asyncio.to_thread(process.join)
        raise _ended(number, process) from None
    return port


def _ended(number: int, process: BaseProcess) -> Unavailable:
    return Unavailable(f"process {number} ended with {process.exitcode}; its output says why")


def _member(work: Work, pipe: Connection) -> None:
    def follow() -> None:
        with suppress(EOFError, OSError):
            pipe.recv()  # nothing is ever sent; it raises when the parent process ends
        os.kill(os.getpid(), signal.SIGTERM)

    share_memory()
    Thread(target=follow, daemon=True).start()
    try:
        work(pipe.send)
    except EyecatchError as error:
        log.error("failed", why=str(error))
        raise SystemExit(1) from None


def _get(port: int, path: str) -> tuple[bool, str]:
    """Whether the page answers 200, and its text. A member that does not answer has a problem and no metrics."""
    try:
        with _open(f"http://{HOST}:{port}{path}", timeout=TIMEOUT_S) as answer:
            return True, answer.read().decode()
    except HTTPError as error:
        return False, error.read().decode()
    except OSError as error:
        return False, f"NOT_SERVING\nno answer ({error})" if path == HEALTH else ""
