"""Two servers are replaced one after the other while a client that follows their health sends calls: none fails."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from eyecatch.v1 import catalog_pb2, catalog_pb2_grpc, covers_pb2, covers_pb2_grpc, types_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.fakes import picture
from tests.faults.table import Row, Table
from tests.processes import owned
from tests.servers import RedisServer, free_port
from tests.waiting import until

PROBE_S = 0.1
SERVING = health_pb2.HealthCheckResponse.SERVING


@dataclass(eq=False)
class Member:
    """A server behind the balancer. `serving`: by its last probe."""

    port: int
    channel: grpc.aio.Channel
    process: "subprocess.Popen[str] | None" = None
    serving: bool = False

    def start(self, *flags: str) -> None:
        command = owned(sys.executable, "-m", "eyecatch.cli", "serve", "--port", str(self.port), *flags)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)

    async def probe(self) -> None:
        """As a readiness probe of Kubernetes does, until cancelled."""
        health = health_pb2_grpc.HealthStub(self.channel)
        while True:
            try:
                answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
                self.serving = answer.status == SERVING
            except grpc.aio.AioRpcError:
                self.serving = False
            await asyncio.sleep(PROBE_S)

    async def restart(self, *flags: str) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self.process.wait, 60) == 0
        self.start(*flags)
        await until(lambda: self.serving, "the new server")


@asynccontextmanager
async def members(*flags: str) -> AsyncIterator[list[Member]]:
    async with AsyncExitStack() as stack:
        both = []
        for port in (free_port(), free_port()):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
            member = Member(port, channel)
            member.start(*flags)
            both.append(member)
        probes = [asyncio.ensure_future(member.probe()) for member in both]
        try:
            yield both
        finally:
            for probe in probes:
                probe.cancel()
            await asyncio.gather(*probes, return_exceptions=True)
            for member in both:
                if member.process is not None:
                    member.process.kill()
                    member.process.wait()


class Caller:
    """Sends one call after the other to the members in turn that are serving, until cancelled."""

    def __init__(self, members: list[Member]) -> None:
        self._members = members
        self.answers, self.failures = 0, list[str]()

    async def run(self) -> None:
        turn = 0
        while True:
            serving = [member for member in self._members if member.serving]
            member = serving[turn % len(serving)]
            turn += 1
            try:
                covers = covers_pb2_grpc.CoversServiceStub(member.channel)
                await covers.RecommendCovers(covers_pb2.RecommendCoversRequest(item_ids=["a"]), timeout=5.0)
                self.answers += 1
            except grpc.aio.AioRpcError as error:
                self.failures.append(str(error))


async def replace_both(store: str, folder: Path) -> Caller:
    """Two servers over an empty Redis are replaced under calls; returns what became of the calls."""
    flags = ("--store", store, "--data-dir", str(folder), "--no-preload", "--grace-s", "1")
    async with members(*flags) as both:
        await until(lambda: all(member.serving for member in both), "both servers")
        item = types_pb2.Item(id="a", title="A", references=[types_pb2.Image(data=picture("red"))])
        catalog = catalog_pb2_grpc.CatalogServiceStub(both[0].channel)
        await catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[item]))
        caller = Caller(both)
        calls = [asyncio.ensure_future(caller.run()) for _ in range(4)]
        for member in both:
            await member.restart(*flags)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    return caller


@pytest.mark.slow
async def test_no_call_fails(redis_server: RedisServer, tmp_path: Path, table: Table) -> None:
    redis_server.client.flushall()
    caller = await replace_both(redis_server.url, tmp_path)
    assert caller.failures == []
    assert caller.answers > 100
    row = Row("no call fails", f"{caller.answers} calls", len(caller.failures))
    table.add("two servers are replaced one after the other", row)
