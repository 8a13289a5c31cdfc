"""grpc.health.v1: the state of the server and of its parts, in the server itself and on a port of its own. Knows no part."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from eyecatch.api.admission import Budget
from eyecatch.core.errors import Unavailable
from eyecatch.observe.calls import CallTimes

State = health_pb2.HealthCheckResponse
THREADS = 2


class Health:
    """States by name. Those of the gRPC library lose all watchers of a name when one of them leaves, and count none."""

    def __init__(self, watches: Budget, times: CallTimes) -> None:
        self._states: dict[str, Any] = {}
        self._changed = asyncio.Condition()
        self._leaving = False
        # Its watchers are kept in no thread.
        self.own = health.HealthServicer(experimental_non_blocking=True)
        self.Watch = watches.stream(self._watch, times)

    async def set(self, name: str, serving: bool) -> None:
        if not self._leaving:
            await self._set(name, State.SERVING if serving else State.NOT_SERVING)

    async def leave(self) -> None:
        """NOT_SERVING of all names, for good."""
        self._leaving = True
        for name in self._states:
            await self._set(name, State.NOT_SERVING)

    async def _set(self, name: str, state: Any) -> None:
        self.own.set(name, state)
        if self._states.get(name) != state:
            self._states[name] = state
            async with self._changed:
                self._changed.notify_all()

    async def Check(self, request: Any, context: Any) -> Any:
        state = self._states.get(request.service)
        if state is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no part {request.service[:100]!r}")
        return State(status=state)

    async def _watch(self, request: Any, context: Any) -> AsyncGenerator[Any]:
        last: Any = None

        def state() -> Any:
            return self._states.get(request.service, State.SERVICE_UNKNOWN)

        while True:
            async with self._changed:
                while state() == last:
                    await self._changed.wait()
                last = state()
            yield State(status=last)


class HealthPort:
    """A server of health alone, with threads of its own: probes are answered whatever the other calls do."""

    def __init__(self, address: str, servicer: health.HealthServicer, shared: bool) -> None:
        """`shared`: with other processes, of which any answers. Raises Unavailable if the port is in use."""
        options = [("grpc.so_reuseport", int(shared))]
        self._server = grpc.server(ThreadPoolExecutor(THREADS, "health"), options=options)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise Unavailable(f"cannot listen on {address}; choose another --health-port") from error
        self._server.start()

    def close(self) -> None:
        self._server.stop(0.0).wait()
