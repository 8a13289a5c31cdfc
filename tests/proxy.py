"""Faults between a client and a server: a TCP proxy that resets, cuts, delays or goes silent. Knows no protocol and no test."""

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Coroutine
from typing import Any

from tests.servers import free_port

# Closing a socket that lingers for zero seconds sends a reset.
_RESET = struct.pack("ii", 1, 0)


class _Pair:
    """One client and the server it was joined to."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.writers = [client]
        self.silent = False

    def reset(self) -> None:
        for writer in self.writers:
            if not writer.transport.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class Proxy:
    """Forwards from `port` to `target` on an event loop of its own thread; every method may be called from any other.

    With `tls` it is the end of TLS, as load balancers are: the target speaks none.
    """

    def __init__(self, target: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.port, self.target, self._tls = free_port(), target, tls
        self._delay_s = 0.0
        self._silent = False
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.mend()

    def reset(self) -> None:
        """Every open connection ends with a reset; new ones are welcome."""
        self._call(self._reset())

    def cut(self) -> None:
        """The same, and who comes is refused until `mend`."""
        self._call(self._cut())

    def delay(self, seconds: float) -> None:
        """Whatever is said is heard so much later, until `mend`."""
        self._delay_s = seconds

    def half_open(self) -> None:
        """Nothing is forwarded and nothing closed: who is connected now never learns of it, who comes until `mend` neither."""
        self._call(self._half_open())

    def mend(self) -> None:
        """New connections are as they should be. Those that went silent stay so, as after a router forgot them."""
        self._call(self._mend())

    def close(self) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _reset(self) -> None:
        for pair in self._pairs:
            pair.reset()

    async def _cut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self._reset()

    async def _half_open(self) -> None:
        self._silent = True
        for pair in self._pairs:
            pair.silent = True

    async def _mend(self) -> None:
        self._silent, self._delay_s = False, 0.0
        if self._server is None:
            self._server = await asyncio.start_server(self._meet, "127.0.0.1", self.port, ssl=self._tls)

    async def _close(self) -> None:
        await self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        pair = _Pair(writer)
        pair.silent = self._silent
        self._tasks.add(task)
        self._pairs.add(pair)
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", self.target)
            pair.writers.append(server)
            await asyncio.gather(self._pump(pair, reader, server), self._pump(pair, answers, writer))
        except (OSError, asyncio.CancelledError):
            pair.reset()
        finally:
            for each in pair.writers:
                each.close()
            self._pairs.discard(pair)
            self._tasks.discard(task)

    async def _pump(self, pair: _Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            if not pair.silent:
                sink.write(data)
                await sink.drain()
        if not pair.silent and sink.can_write_eof() and not sink.transport.is_closing():
            sink.write_eof()
