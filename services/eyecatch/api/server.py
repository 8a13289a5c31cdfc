"""The gRPC server: services, health, reflection, limits, and a drain in which running calls finish. Knows no store."""

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from eyecatch.addresses import joined
from eyecatch.api import status
from eyecatch.api.admission import Budget
from eyecatch.api.behavior import BehaviorServicer
from eyecatch.api.catalog import CatalogServicer
from eyecatch.api.covers import CoversServicer
from eyecatch.api.health import Health, HealthPort
from eyecatch.api.identity.gate import Gate, Parse
from eyecatch.api.review import ReviewServicer
from eyecatch.core.errors import Unavailable
from eyecatch.observe.calls import Calls
from eyecatch.v1 import behavior_pb2, catalog_pb2, covers_pb2, review_pb2

SERVICES: tuple[ServiceDescriptor, ...] = (
    covers_pb2.DESCRIPTOR.services_by_name["CoversService"],
    catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"],
    behavior_pb2.DESCRIPTOR.services_by_name["BehaviorService"],
    review_pb2.DESCRIPTOR.services_by_name["ReviewService"],
)
NAMES = tuple(s.full_name for s in SERVICES)
REFLECTION = f"{reflection.SERVICE_NAME}/ServerReflectionInfo"
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
KEEPALIVE_MS = 20_000
PROTECTED = 256
"""Calls of a connection from which on those that have ended, a few dozen, hardly count."""
NO_LIMIT_MS = 2**31 - 1
IMPORTS = {"UpsertItems", "UpsertUserEmbeddings"}
"""Calls with pictures or thousands of rows, which take seconds of work."""
PING_MS = 5_000
"""A client may ping as often as this on a connection without data; gRPC lets none ping more often than every 10 s by default."""


@dataclass(frozen=True)
class ServerOptions:
    host: str
    port: int
    max_concurrent: int
    max_streams: int
    max_imports: int
    max_per_connection: int
    max_message_bytes: int
    connection_age_s: float = 0.0
    connection_idle_s: float = 0.0
    """0: no limit. A connection at its limit gets a GOAWAY; its running calls go on."""
    health_port: int = 0
    """Of health alone, served by threads of its own; 0 for none."""
    credentials: grpc.ServerCredentials | None = None
    """Of TLS, for all but the health port."""
    gate: Gate | None = None
    """Who may call; None lets everybody in."""
    shared: bool = False
    """Whether other processes listen on the same ports: the kernel gives each a part of the connections."""


@dataclass(frozen=True)
class Budgets:
    """Of fast calls, of streams that wait for covers, and of imports."""

    calls: Budget
    streams: Budget
    imports: Budget


def _handlers(
    service: ServiceDescriptor, servicer: Any, budgets: Budgets, calls: Calls, gate: Gate | None
) -> "grpc.GenericRpcHandler[Any, Any]":
    """The service's methods, with a parser that reports malformed bytes instead of failing inside gRPC.

    RecommendCovers returns serialised bytes (see fast_wire.py), so it has no serializer.
    """
    handlers = {}
    for method in service.methods:
        name = f"{service.full_name}/{method.name}"
        call, times = getattr(servicer, method.name), calls.of(name)
        parse: Parse | None = status.parser(GetMessageClass(method.input_type))
        if gate is not None:
            guard = gate.stream if method.server_streaming else gate.unary
            call, parse = guard(call, parse, name), None  # type: ignore[arg-type]  # the gate parses
        if method.server_streaming:
            make, call = grpc.unary_stream_rpc_method_handler, budgets.streams.stream(call, times)
        else:
            budget = budgets.imports if method.name in IMPORTS else budgets.calls
            make, call = grpc.unary_unary_rpc_method_handler, budget.unary(call, times)
        serialize = None if method.name == "RecommendCovers" else GetMessageClass(method.output_type).SerializeToString
        handlers[method.name] = make(call, parse, serialize)
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000) or NO_LIMIT_MS


class Server:
    """Created, then `start`, then `drain`."""

    def __init__(
        self,
        options: ServerOptions,
        covers: CoversServicer,
        catalog: CatalogServicer,
        behavior: BehaviorServicer,
        review: ReviewServicer,
    ) -> None:
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", options.max_message_bytes),
                # In gRPC's core, where it costs nothing: a call that Python refuses costs as much as one that it answers.
                ("grpc.max_concurrent_streams", options.max_per_connection),
                # Counts streams that have ended too, until Python lets go of them. So a client that cancels all it sends takes no
                # memory beyond its limit; but one that keeps a small limit would have calls reset.
                ("grpc.http.overload_protection", int(options.max_per_connection >= PROTECTED)),
                # Otherwise two servers could listen on one port, and each would get half of the calls.
                ("grpc.so_reuseport", int(options.shared)),
                # Clients behind balancers ping idle connections every 10 s; by default they are cut after two pings.
                ("grpc.http2.min_ping_interval_without_data_ms", PING_MS),
                ("grpc.keepalive_permit_without_calls", 1),
                # Clients that are gone without a word are noticed, and their streams end.
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
                ("grpc.max_connection_age_ms", _milliseconds(options.connection_age_s)),
                ("grpc.max_connection_idle_ms", _milliseconds(options.connection_idle_s)),
            ],
        )
        self.calls = Calls()
        budgets = Budgets(
            Budget("calls", options.max_concurrent),
            Budget("streams", options.max_streams),
            Budget("imports", options.max_imports),
        )
        servicers = (covers, catalog, behavior, review)
        handlers = [
            _handlers(*pair, budgets, self.calls, options.gate) for pair in zip(SERVICES, servicers, strict=True)
        ]
        self._server.add_generic_rpc_handlers(handlers)
        self._health = Health(
            Budget("watches of health", options.max_streams), self.calls.of(f"{health.SERVICE_NAME}/Watch")
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._add_reflection(options.gate)
        address = joined(options.host, options.port)
        try:
            self.port = (
                self._server.add_secure_port(address, options.credentials)
                if options.credentials
                else self._server.add_insecure_port(address)
            )
        except RuntimeError as error:  # all that gRPC says of a taken port or an address that is not ours
            raise Unavailable(f"cannot listen on {address}; is another server there? choose another --port") from error
        own = joined(options.host, options.health_port)
        self._own_health = HealthPort(own, self._health.own, options.shared) if options.health_port else None

    def _add_reflection(self, gate: Gate | None) -> None:
        names = (*NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        servicer = reflection.aio.ReflectionServicer(names)  # type: ignore[attr-defined]
        if gate is not None:
            servicer.ServerReflectionInfo = gate.stream(
                servicer.ServerReflectionInfo, lambda requests: requests, REFLECTION
            )
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, self._server)
        # The messages of v1 are those of v1alpha, and clients ask for v1 first.
        handler = grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            reflection_pb2.ServerReflectionRequest.FromString,
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        handlers = {"ServerReflectionInfo": handler}
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(REFLECTION_V1, handlers)])

    async def start(self) -> None:
        await self._server.start()
        for name in ("", *NAMES):
            await self._health.set(name, True)

    async def set_health(self, name: str, serving: bool) -> None:
        """Set the health of a part under its own name. The server stays SERVING: it works as far as it can without the part."""
        await self._health.set(name, serving)

    async def leave(self) -> None:
        """Report NOT_SERVING from now on, so that balancers send no more calls; all calls are still answered."""
        await self._health.leave()

    async def drain(self, grace_s: float) -> None:
        """Refuse new calls, and cancel running calls that do not finish within `grace_s` seconds."""
        await self.leave()
        await self._server.stop(grace_s)
        if self._own_health is not None:
            await asyncio.to_thread(self._own_health.close)
