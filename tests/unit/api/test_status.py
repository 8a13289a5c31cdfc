"""What a failed call says beside its code: a stable reason, and the id by which the caller and the log know it."""

import grpc
import pytest
from eyecatch.v1 import covers_pb2
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo
from grpc_status import rpc_status
from structlog.testing import capture_logs

from tests.unit.api.conftest import Api, _Call


async def failure(api: Api, request_id: str = "") -> tuple[grpc.aio.AioRpcError, ErrorInfo, RequestInfo]:
    metadata = (("x-request-id", request_id),) if request_id else None
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.covers.GetCover(covers_pb2.GetCoverRequest(cover_id="x"), metadata=metadata)
    status, reason, request = rpc_status.from_call(_Call(caught.value)), ErrorInfo(), RequestInfo()
    assert status is not None
    assert any(detail.Unpack(reason) for detail in status.details)
    assert any(detail.Unpack(request) for detail in status.details)
    return caught.value, reason, request


async def test_an_error_has_a_reason_and_the_callers_request_id(api: Api) -> None:
    error, reason, request = await failure(api, "shop-17")
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert (reason.reason, reason.domain, request.request_id) == ("NOT_FOUND", "eyecatch", "shop-17")


async def test_a_defect_is_found_in_the_log_by_its_request_id(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(api.app.parts.store.catalog, "cover", broken)
    with capture_logs() as lines:
        error, reason, request = await failure(api)
    assert (error.code(), reason.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL_ERROR")
    assert [line["request_id"] for line in lines if line["event"] == "internal_error"] == [request.request_id]
    assert request.request_id in str(error.details())
