"""Several processes of one ingest behind one command and one page. Knows how to start one, not what it does.

One process of Python uses one core; members of a consumer group share the partitions, so as many cores are used as there are members.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Thread
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from eyecatch.core.errors import EyecatchError, Unavailable
from eyecatch.observe.page import Registered

HOST = "127.0.0.1"
HEALTH, METRICS = "/health", "/metrics"
ASK_S = 2.0
_open = build_opener(ProxyHandler({})).open  # proxies of the environment are not for our own processes

Work = Callable[[Callable[[int], None]], None]
"""Runs until SIGTERM, and reports the port of its page once that answers. It is pickled by name, so it is a function of a module."""


class Members(Registered):
    """The pages of all members as one: each metric and each trouble with the number of its process."""

    def __init__(self, ports: Mapping[int, int]) -> None:
        super().__init__()
        self._ports = ports
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for process, port in sorted(self._ports.items()):
            for family in text_string_to_metric_families(_ask(port, METRICS)[1]):
                whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                whole.samples += [s._replace(labels={**s.labels, "process": str(process)}) for s in family.samples]
        yield from families.values()

    def text(self) -> str:
        """SERVING, or NOT_SERVING and a line for each trouble."""
        troubles: list[str] = []
        for process, port in sorted(self._ports.items()):
            well, said = _ask(port, HEALTH)
            troubles += [] if well else [f"process {process}: {line}" for line in said.splitlines()[1:]]
        return "\n".join(["NOT_SERVING", *troubles] if troubles else ["SERVING"])


@asynccontextmanager
async def started(works: Sequence[Work]) -> AsyncIterator[tuple[Members, "asyncio.Future[None]"]]:
    """Each in a process of its own: their pages as one, and a future that ends, with Unavailable, when the first of them does.

    On leaving they get SIGTERM and are waited for; if this process dies, they get it too. Raises Unavailable if one ends
    before it is ready.
    """
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    processes: list[BaseProcess] = []
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end(number: int) -> None:
        loop.remove_reader(processes[number].sentinel)
        processes[number].join()  # it has ended: for its exit code
        if not ended.done():
            ended.set_exception(_ended(number, processes[number]))

    try:
        for number, work in enumerate(works):
            ours, theirs = context.Pipe()
            pipes.append(ours)
            new = context.Process(target=_member, args=(work, theirs), name=f"ingest-{number}")
            new.start()
            processes.append(new)
            theirs.close()
        ports = {
            number: await _port(number, *member) for number, member in enumerate(zip(pipes, processes, strict=True))
        }
        for number, process in enumerate(processes):
            loop.add_reader(process.sentinel, end, number)
        yield Members(ports), ended
    finally:
        for process in processes:
            loop.remove_reader(process.sentinel)
            process.terminate()
        for process in processes:
            await asyncio.to_thread(process.join)
        if ended.done():
            ended.exception()  # whoever waited for it has it already


async def _port(number: int, pipe: Connection, process: BaseProcess) -> int:
    try:
        port: int = await asyncio.to_thread(pipe.recv)
    except EOFError:
        await asyncio.to_thread(process.join)
        raise _ended(number, process) from None
    return port


def _ended(number: int, process: BaseProcess) -> Unavailable:
    return Unavailable(f"process {number} ended with {process.exitcode}; why is said above")


def _member(work: Work, pipe: Connection) -> None:
    def follow() -> None:
        with suppress(EOFError, OSError):
            pipe.recv()  # nothing is ever sent: it ends with the process at the other end
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=follow, daemon=True).start()
    try:
        work(pipe.send)
    except EyecatchError as error:
        raise SystemExit(f"error: {error}") from None


def _ask(port: int, path: str) -> tuple[bool, str]:
    """Whether the page answers 200, and its text. A member that does not answer is in trouble, and has no metrics."""
    try:
        with _open(f"http://{HOST}:{port}{path}", timeout=ASK_S) as answer:
            return True, answer.read().decode()
    except HTTPError as error:
        return False, error.read().decode()
    except OSError as error:
        return False, f"NOT_SERVING\nno answer ({error})" if path == HEALTH else ""
