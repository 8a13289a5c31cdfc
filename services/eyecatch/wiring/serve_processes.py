"""`eyecatch serve --processes`: servers of one store on one port, among which the kernel shares out connections; one page for all."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

import uvloop

from eyecatch.addresses import bare, joined
from eyecatch.config import Config
from eyecatch.core.errors import Unavailable
from eyecatch.observe.logs import configure
from eyecatch.observe.page import page
from eyecatch.wiring.members import run_members
from eyecatch.wiring.process import stop_signal
from eyecatch.wiring.serve import serve as serve_alone


async def serve(config: Config, on_ready: Callable[[int], None]) -> None:
    """Run `config.processes` servers until SIGTERM or SIGINT, or until one of them ends, which raises Unavailable."""
    if config.processes == 1:
        return await serve_alone(config, on_ready)
    stop = stop_signal()
    with shared_port(config.host, config.port) as port:
        works = [partial(_run, _member(config, number, port), number) for number in range(config.processes)]
        async with run_members("serve", works) as members:
            at = config.metrics_port
            with page(config.host, at, members.page, members.page) if at else nullcontext():
                on_ready(port)
                await asyncio.wait({stop, members.ended}, return_when=asyncio.FIRST_COMPLETED)
                await members.stop()
        if not stop.done():
            members.ended.result()


def _member(config: Config, number: int, port: int) -> Config:
    """The settings of one member. What walks over the whole store is done by the first alone; memory for items is shared out."""
    member = replace(config, processes=1, port=port, cached_items=max(100, config.cached_items // config.processes))
    return member if number == 0 else replace(member, reencode_every_s=0.0, trial_every_s=0.0)


def _run(config: Config, number: int, on_ready: Callable[[int], None]) -> None:
    configure(config.log_format, process=number)
    uvloop.run(serve_alone(config, on_ready, member=True))


@contextmanager
def shared_port(host: str, port: int) -> Iterator[int]:
    """Keep a port for several processes with SO_REUSEPORT inside the context; yields it. 0: a free one. Raises Unavailable.

    The socket does not listen, so it gets no connection.
    """
    family, kind, _, _, address = socket.getaddrinfo(
        bare(host), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    try:
        # Another server that shares its port would share it with us too: it is noticed without the option.
        with socket.socket(family, kind) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            address = alone.getsockname()
        shared = socket.socket(family, kind)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(address)
    except OSError as error:
        where = joined(host, port)
        raise Unavailable(f"cannot listen on {where}; is another server there? choose another --port") from error
    with shared:
        yield int(address[1])
