"""A Redis that answers every command with an error of your choice: a proxy before a real one that knows where commands end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.servers import free_port

REPLIES = (
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM this user has no permissions to run the 'eval' command",
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "MOVED 3999 127.0.0.1:1",
    "ASK 3999 127.0.0.1:1",
    "CROSSSLOT Keys in request don't hash to the same slot",
    "NOSCRIPT No matching script. Please use EVAL.",
    "EXECABORT Transaction discarded because of previous errors.",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "ERR max number of clients reached",
    "ERR unknown command 'EVAL'",
    "SOMETHING that no version has said yet",
)


class RefusingRedis:
    """Forwards to `target` while `reply` is empty. `refusals`: commands that got `reply`."""

    def __init__(self, target: int) -> None:
        self.port, self._target = free_port(), target
        self.reply = ""
        self.refusals = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_connection("127.0.0.1", self._target)
        back = asyncio.ensure_future(_pump(answers, writer))
        try:
            while command := await _command(reader):
                if self.reply:
                    self.refusals += 1
                    writer.write(f"-{self.reply}\r\n".encode())
                else:
                    server.write(command)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            back.cancel()
            server.close()
            writer.close()


async def _command(reader: asyncio.StreamReader) -> bytes:
    """The bytes of one command: an array of strings with their lengths; empty at the end."""
    head = await reader.readline()
    parts = [head]
    for _ in range(int(head[1:] or 0)):
        length = await reader.readline()
        parts += [length, await reader.readexactly(int(length[1:]) + 2)]
    return b"".join(parts)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)


@asynccontextmanager
async def refusing(target: int) -> AsyncIterator[RefusingRedis]:
    """A proxy to the Redis at port `target`, on this event loop."""
    redis = RefusingRedis(target)
    server = await asyncio.start_server(redis.meet, "127.0.0.1", redis.port)
    try:
        yield redis
    finally:
        server.close()
