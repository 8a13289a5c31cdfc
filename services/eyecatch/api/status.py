"""Errors -> gRPC status, in one place. Knows no service."""

import re
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import wraps
from typing import Any, NoReturn, TypeVar

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from eyecatch.core import errors

log = structlog.get_logger(__name__)

CODES: tuple[tuple[type[errors.EyecatchError], int], ...] = (
    (errors.InvalidInput, Code.INVALID_ARGUMENT),
    (errors.NotFound, Code.NOT_FOUND),
    (errors.Conflict, Code.ALREADY_EXISTS),
    (errors.NotReady, Code.FAILED_PRECONDITION),
    (errors.Unauthenticated, Code.UNAUTHENTICATED),
    (errors.Denied, Code.PERMISSION_DENIED),
    (errors.Overloaded, Code.RESOURCE_EXHAUSTED),
    (errors.StoreFull, Code.RESOURCE_EXHAUSTED),
    (errors.Unavailable, Code.UNAVAILABLE),
    (errors.Cancelled, Code.CANCELLED),
    (errors.StoreError, Code.FAILED_PRECONDITION),
    (errors.InternalError, Code.INTERNAL),
)


DOMAIN = "eyecatch"
REQUEST_ID = "x-request-id"
MAX_REQUEST_ID = 100


def reason(kind: type[errors.EyecatchError]) -> str:
    """ErrorInfo.reason: StoreFull -> STORE_FULL. Clients decide by it: names stay when messages change."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper()


def request_id(context: Any) -> str:
    """The caller's own id of the call, from the metadata x-request-id, or a new one."""
    values = dict(context.invocation_metadata() or ())
    return str(values.get(REQUEST_ID) or uuid.uuid4().hex)[:MAX_REQUEST_ID]


def details(error: errors.EyecatchError) -> list[Message]:
    """The machine-readable details: field violations, the missing resource, or when to retry."""
    if isinstance(error, errors.InvalidInput):
        fields = [
            BadRequest.FieldViolation(field=v.field, description=f"got {v.value}; allowed: {v.allowed}")
            for v in error.violations
        ]
        return [BadRequest(field_violations=fields)]
    if isinstance(error, errors.NotFound):
        return [ResourceInfo(resource_type=error.kind, resource_name=error.id)]
    if isinstance(error, errors.Overloaded | errors.Unavailable):
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        return [RetryInfo(retry_delay=delay)]
    return []


async def abort(context: Any, error: errors.EyecatchError, call: str = "") -> NoReturn:
    """End a call with the error's status, its details, an ErrorInfo and a RequestInfo. `call`: the request id, if it is known."""
    code = next(c for kind, c in CODES if isinstance(error, kind))
    packed = []
    about = ErrorInfo(reason=reason(type(error)), domain=DOMAIN), RequestInfo(request_id=call or request_id(context))
    for detail in (*details(error), *about):
        any_message = AnyMessage()
        any_message.Pack(detail)
        packed.append(any_message)
    # gRPC limits trailing metadata to 8 KiB by default.
    await context.abort_with_status(rpc_status.to_status(Status(code=code, message=str(error)[:1000], details=packed)))
    raise error


def parser(kind: type[Message]) -> Callable[[bytes], Message | errors.InvalidInput]:
    """Bytes -> message, or the error that `unary` and `stream` return to the caller."""

    def parse(data: bytes) -> Message | errors.InvalidInput:
        try:
            return kind.FromString(data)
        except DecodeError:
            return errors.InvalidInput.of("request", f"{len(data)} bytes", f"a serialised {kind.DESCRIPTOR.full_name}")

    return parse


Request = TypeVar("Request")
Response = TypeVar("Response")
Self = TypeVar("Self")


async def _unexpected(context: Any, error: Exception) -> NoReturn:
    if isinstance(error, grpc.RpcError | grpc.aio.AbortError):
        raise error
    call = request_id(context)
    log.error("internal_error", request_id=call, exc_info=error)
    await abort(
        context, errors.InternalError(f"internal error; the server's log has the details of request {call}"), call
    )


def unary(
    method: Callable[[Self, Request, Any], Awaitable[Response]],
) -> Callable[[Self, Request, Any], Awaitable[Response]]:
    """The RPC boundary of a unary method. Only here and in `stream` is every exception caught."""

    @wraps(method)
    async def answer(self: Self, request: Request, context: Any) -> Response:
        try:
            if isinstance(request, errors.InvalidInput):
                raise request
            return await method(self, request, context)
        except errors.EyecatchError as error:
            await abort(context, error)
        except Exception as error:  # noqa: BLE001
            await _unexpected(context, error)

    return answer


def stream(
    method: Callable[[Self, Request, Any], AsyncGenerator[Response]],
) -> Callable[[Self, Request, Any], AsyncGenerator[Response]]:
    """The RPC boundary of a server-streaming method."""

    @wraps(method)
    async def answer(self: Self, request: Request, context: Any) -> AsyncGenerator[Response]:
        try:
            if isinstance(request, errors.InvalidInput):
                raise request
            async with aclosing(method(self, request, context)) as responses:
                async for response in responses:
                    yield response
        except errors.EyecatchError as error:
            await abort(context, error)
        except Exception as error:  # noqa: BLE001
            await _unexpected(context, error)

    return answer
