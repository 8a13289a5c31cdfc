"""The Review service: editors look at covers that wait, decide about them, and read what was decided."""

from typing import Any

from eyecatch.api import wire
from eyecatch.api.status import unary
from eyecatch.core import limits
from eyecatch.core.ports import CatalogStore
from eyecatch.core.trust.review import Review
from eyecatch.core.types import Trust
from eyecatch.v1 import review_pb2, review_pb2_grpc

MAX_NOTE = 512
UNNAMED = "unnamed"


class ReviewServicer(review_pb2_grpc.ReviewServiceServicer):
    def __init__(self, review: Review, catalog: CatalogStore) -> None:
        self._review, self._catalog = review, catalog

    @unary
    async def ListWaitingCovers(
        self, request: review_pb2.ListWaitingCoversRequest, context: Any
    ) -> review_pb2.ListWaitingCoversResponse:
        check = limits.Check()
        check.count("page_size", request.page_size, 0, limits.MAX_PAGE)
        if request.trust not in (0, Trust.CANDIDATE, Trust.ON_TRIAL):
            check.refuse("trust", request.trust, "TRUST_CANDIDATE, TRUST_ON_TRIAL or absent")
        check.done()
        trust = Trust(request.trust or Trust.CANDIDATE)
        page = await self._catalog.waiting_covers(trust, request.page_size or 100, request.page_token)
        covers = [wire.cover_to_wire(cover) for cover in page.rows]
        return review_pb2.ListWaitingCoversResponse(covers=covers, next_page_token=page.next_token)

    @unary
    async def ApproveCover(
        self, request: review_pb2.ApproveCoverRequest, context: Any
    ) -> review_pb2.ApproveCoverResponse:
        decider = _decider(request)
        cover = await self._review.approve(request.cover_id, *decider)
        return review_pb2.ApproveCoverResponse(cover=wire.cover_to_wire(cover))

    @unary
    async def RetireCover(self, request: review_pb2.RetireCoverRequest, context: Any) -> review_pb2.RetireCoverResponse:
        decider = _decider(request)
        cover = await self._review.retire(request.cover_id, *decider)
        return review_pb2.RetireCoverResponse(cover=wire.cover_to_wire(cover))

    @unary
    async def DeleteCover(self, request: review_pb2.DeleteCoverRequest, context: Any) -> review_pb2.DeleteCoverResponse:
        decider = _decider(request)
        await self._review.delete(request.cover_id, *decider)
        return review_pb2.DeleteCoverResponse()

    @unary
    async def PinCover(self, request: review_pb2.PinCoverRequest, context: Any) -> review_pb2.PinCoverResponse:
        limits.check_id("item_id", request.item_id)
        decider = _decider(request, optional=True)
        changed = await self._review.pin(request.item_id, request.cover_id, *decider)
        return review_pb2.PinCoverResponse(covers_changed=changed)

    @unary
    async def RestoreOriginals(
        self, request: review_pb2.RestoreOriginalsRequest, context: Any
    ) -> review_pb2.RestoreOriginalsResponse:
        check = limits.Check()
        item_ids = list(request.item_ids)
        check.count("item_ids", len(item_ids), 0, limits.MAX_BATCH)
        if request.all == bool(item_ids):
            check.refuse("item_ids", f"{len(item_ids)} items", "some items, or none and all=true")
        check.done()
        check.ids("item_ids", item_ids)
        _check_decider(check, request.decider)
        check.done()
        changed = await self._review.restore(item_ids, request.decider.editor or UNNAMED, request.decider.note)
        return review_pb2.RestoreOriginalsResponse(covers_changed=changed)

    @unary
    async def ListAuditEntries(
        self, request: review_pb2.ListAuditEntriesRequest, context: Any
    ) -> review_pb2.ListAuditEntriesResponse:
        check = limits.Check()
        check.count("page_size", request.page_size, 0, limits.MAX_PAGE)
        check.done()
        page = await self._catalog.audit(request.page_size or 100, request.page_token)
        entries = [wire.audit_to_wire(entry) for entry in page.rows]
        return review_pb2.ListAuditEntriesResponse(entries=entries, next_page_token=page.next_token)


def _decider(request: Any, optional: bool = False) -> tuple[str, str]:
    """(editor, note) of a request about a cover. Raises InvalidInput also for its cover."""
    check = limits.Check()
    check.id("cover_id", request.cover_id, optional=optional)
    _check_decider(check, request.decider)
    check.done()
    return request.decider.editor or UNNAMED, request.decider.note


def _check_decider(check: limits.Check, decider: review_pb2.Decider) -> None:
    check.text("decider.editor", decider.editor, limits.MAX_ID, optional=True)
    check.text("decider.note", decider.note, MAX_NOTE, optional=True)
