"""A client on the generated stubs, with a token, TLS and readable errors, for our commands and for Python callers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from eyecatch.tls import Tls
from eyecatch.v1 import behavior_pb2_grpc, catalog_pb2_grpc, covers_pb2_grpc, review_pb2_grpc

MAX_MESSAGE = 64 << 20


@dataclass(frozen=True)
class Client:
    """The services as generated stubs."""

    covers: "covers_pb2_grpc.CoversServiceStub"
    catalog: "catalog_pb2_grpc.CatalogServiceStub"
    behavior: "behavior_pb2_grpc.BehaviorServiceStub"
    review: "review_pb2_grpc.ReviewServiceStub"


class _WithToken(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    def __init__(self, token: str) -> None:
        self._pair = ("authorization", f"Bearer {token}")

    def _add(self, details: Any) -> Any:
        metadata = [*(details.metadata or ()), self._pair]
        return details._replace(metadata=metadata)

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._add(details), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._add(details), request)


class _TwoChannels:
    """The channel of a stub whose streams have a connection of their own, so that waiting streams do not hold up calls."""

    def __init__(self, calls: grpc.Channel, streams: grpc.Channel) -> None:
        self.unary_unary, self.unary_stream = calls.unary_unary, streams.unary_stream


def _channel(address: str, tls: Tls | None, reject: bool) -> grpc.Channel:
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE),
        ("grpc.max_send_message_length", MAX_MESSAGE),
        ("grpc.http.max_concurrent_streams_reject_on_client", int(reject)),
        ("grpc.enable_retries", int(not reject)),  # else a rejected call is tried again until its deadline
        ("grpc.use_local_subchannel_pool", 1),  # else both channels share a connection
    ]
    if tls:
        return grpc.secure_channel(address, tls.credentials(), options)
    return grpc.insecure_channel(address, options)


@contextmanager
def connect(address: str, token: str = "", tls: Tls | None = None, reject: bool = False) -> Iterator[Client]:
    """A client of the server at `address` ("host:port"). Raises InvalidInput for an unusable file of `tls`.

    What is beyond the server's --max-calls-per-connection waits here for its turn until its deadline, or with `reject` ends at
    once with RESOURCE_EXHAUSTED.
    """
    with _channel(address, tls, reject) as first, _channel(address, tls, reject) as second:
        calls: Any = _TwoChannels(first, second)
        if token:
            calls = _TwoChannels(*(grpc.intercept_channel(each, _WithToken(token)) for each in (first, second)))
        yield Client(
            covers_pb2_grpc.CoversServiceStub(calls),
            catalog_pb2_grpc.CatalogServiceStub(calls),
            behavior_pb2_grpc.BehaviorServiceStub(calls),
            review_pb2_grpc.ReviewServiceStub(calls),
        )


def is_unreachable(error: grpc.RpcError) -> bool:
    """Whether no server answered. If our server answers that a part of it is unreachable, its status has details."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and rpc_status.from_call(error) is None  # type: ignore[arg-type]


def explain(error: grpc.RpcError) -> str:
    """A readable error: the code, the message, and a line for each refused field."""
    code = error.code().name
    lines = [f"{code}: {error.details()}"]
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in status.details if status else ():
        bad = BadRequest()
        if detail.Is(BadRequest.DESCRIPTOR) and detail.Unpack(bad):
            lines = [code] + [f"  {v.field}: {v.description}" for v in bad.field_violations]
    return "\n".join(lines)
