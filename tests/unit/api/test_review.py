"""Editors: what users see after each decision, the audit record, and refusals."""

from pathlib import Path

import grpc
import pytest
from eyecatch.config import Config
from eyecatch.v1 import catalog_pb2, covers_pb2, types_pb2
from eyecatch.v1.review_pb2 import (
    ApproveCoverRequest,
    Decider,
    DeleteCoverRequest,
    ListAuditEntriesRequest,
    ListWaitingCoversRequest,
    PinCoverRequest,
    RestoreOriginalsRequest,
    RetireCoverRequest,
)

from tests.unit.api.conftest import Api
from tests.unit.generate.conftest import serving

ANN = Decider(editor="ann", note="looks good ✓")
FAILED = "fidelity=0.31; allowed: at least 0.8"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A server for editors whose made covers have the best stored rewards."""
    return Config(data_dir=str(tmp_path / "data"), port=0, exploration=0.0, drain_s=0.0, reward_weights="aesthetic=100")


async def make(api: Api, item_id: str = "a", **more: object) -> types_pb2.Cover:
    api.generator.rewards = {"aesthetic": 1.0}
    request = covers_pb2.GenerateCoversRequest(item_id=item_id, **more)
    (cover,) = [u.cover async for u in api.covers.GenerateCovers(request) if u.WhichOneof("update") == "cover"]
    return cover


async def shown(api: Api, item_id: str = "a", k: int = 9) -> list[str]:
    request = covers_pb2.RecommendCoversRequest(item_ids=[item_id], covers_per_item=k)
    return [c.cover_id for c in (await api.covers.RecommendCovers(request)).items[0].covers]


async def audit(api: Api) -> list[tuple[str, str, str, str]]:
    entries = (await api.review.ListAuditEntries(ListAuditEntriesRequest())).entries
    return [(e.by, e.action, e.cover_id, e.note) for e in entries]


async def test_a_new_cover_waits_with_the_gates_that_it_failed(api: Api) -> None:
    await api.put("a", "red")
    passed = await make(api, seed=1)
    api.generator.refusals = (FAILED,)
    failed = await make(api, seed=2)
    api.generator.refusals = None
    unmeasured = await make(api, seed=3)
    assert (passed.trust, list(passed.reasons)) == (types_pb2.TRUST_CANDIDATE, [])
    waiting = {c.id: list(c.reasons) for c in (await api.review.ListWaitingCovers(ListWaitingCoversRequest())).covers}
    assert waiting[failed.id] == [FAILED]
    assert "measured none" in waiting[unmeasured.id][0]
    assert set(waiting) == {passed.id, failed.id, unmeasured.id}
    assert not set(waiting) & set(await shown(api))


async def test_an_approved_cover_is_shown_until_it_is_retired(api: Api) -> None:
    await api.put("a", "red")
    (original,) = await shown(api)
    api.generator.refusals = (FAILED,)
    new = await make(api)
    answer = await api.review.ApproveCover(ApproveCoverRequest(cover_id=new.id, decider=ANN))
    assert (answer.cover.trust, list(answer.cover.reasons)) == (types_pb2.TRUST_TRUSTED, [])
    assert await shown(api) == [new.id, original]
    again = await api.review.ApproveCover(ApproveCoverRequest(cover_id=new.id))
    assert again.cover == answer.cover
    await api.review.RetireCover(RetireCoverRequest(cover_id=new.id))
    assert await shown(api) == [original]
    assert await audit(api) == [
        ("unnamed", "retire", new.id, ""),
        ("ann", "approve", new.id, "looks good ✓"),
    ], "a decision that changes nothing is no entry"


async def test_an_item_whose_only_cover_is_retired_is_answered_without_one(api: Api) -> None:
    await api.put("a", "red")
    (original,) = await shown(api)
    await api.review.RetireCover(RetireCoverRequest(cover_id=original))
    answer = await api.covers.RecommendCovers(covers_pb2.RecommendCoversRequest(item_ids=["a"]))
    assert answer.items[0].problem == covers_pb2.ITEM_PROBLEM_NO_COVER
    await api.review.ApproveCover(ApproveCoverRequest(cover_id=original))
    assert await shown(api) == [original]


async def test_a_pinned_cover_is_alone_until_the_pin_is_removed(api: Api) -> None:
    await api.put("a", "red", "blue", "green")
    covers = await shown(api)
    for cover in covers[1:]:
        await api.review.PinCover(PinCoverRequest(item_id="a", cover_id=cover))
        assert await shown(api) == [cover]
    assert (await api.review.PinCover(PinCoverRequest(item_id="a"))).covers_changed == 1
    assert await shown(api) == covers
    assert sorted(action for _, action, _, _ in await audit(api)) == ["pin", "pin", "unpin", "unpin"]


async def test_a_deleted_cover_is_gone_with_its_image_and_stays_in_the_record(api: Api) -> None:
    await api.put("a", "red")
    new = await make(api)
    await api.review.DeleteCover(DeleteCoverRequest(cover_id=new.id, decider=ANN))
    await api.refused(api.covers.GetCover(covers_pb2.GetCoverRequest(cover_id=new.id)), grpc.StatusCode.NOT_FOUND)
    assert await audit(api) == [("ann", "delete", new.id, "looks good ✓")]


async def test_the_originals_come_back_with_one_call(api: Api) -> None:
    for id in "ab":
        await api.put(id, "red", "blue")
    originals = {id: await shown(api, id) for id in "ab"}
    new = {id: await make(api, id) for id in "ab"}
    for id in "ab":
        await api.review.ApproveCover(ApproveCoverRequest(cover_id=new[id].id))
        await api.review.PinCover(PinCoverRequest(item_id=id, cover_id=new[id].id))
        await api.review.RetireCover(RetireCoverRequest(cover_id=originals[id][0]))
        assert await shown(api, id) == [new[id].id]
    one = await api.review.RestoreOriginals(RestoreOriginalsRequest(item_ids=["a"], decider=ANN))
    assert one.covers_changed == 2
    assert await shown(api, "a") == originals["a"]
    assert await shown(api, "b") == [new["b"].id]
    assert (await api.review.RestoreOriginals(RestoreOriginalsRequest(all=True))).covers_changed == 2
    assert await shown(api, "b") == originals["b"]
    assert (await api.review.RestoreOriginals(RestoreOriginalsRequest(all=True))).covers_changed == 0
    nearest = await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="a"))
    assert new["a"].id in {c.id for c in nearest.covers}, "retired, not removed"


async def test_wrong_decisions_are_refused_and_change_nothing(api: Api) -> None:
    await api.put("a", "red")
    await api.put("b", "blue")
    new, original = await make(api), (await shown(api))[0]
    other = (await shown(api, "b"))[0]
    review, codes = api.review, grpc.StatusCode
    for call in (
        review.ApproveCover(ApproveCoverRequest(cover_id="absent")),
        review.RetireCover(RetireCoverRequest(cover_id="absent")),
        review.DeleteCover(DeleteCoverRequest(cover_id="absent")),
        review.PinCover(PinCoverRequest(item_id="absent")),
        review.PinCover(PinCoverRequest(item_id="a", cover_id="absent")),
        review.RestoreOriginals(RestoreOriginalsRequest(item_ids=["a", "absent"])),
    ):
        await api.refused(call, codes.NOT_FOUND)
    for call in (
        review.DeleteCover(DeleteCoverRequest(cover_id=original)),
        review.PinCover(PinCoverRequest(item_id="a", cover_id=new.id)),
    ):
        await api.refused(call, codes.FAILED_PRECONDITION)
    for call, field in (
        (review.ApproveCover(ApproveCoverRequest()), "cover_id"),
        (review.ApproveCover(ApproveCoverRequest(cover_id=new.id, decider=Decider(note="x" * 513))), "decider.note"),
        (review.RetireCover(RetireCoverRequest(cover_id=new.id, decider=Decider(editor="\0"))), "decider.editor"),
        (review.PinCover(PinCoverRequest(item_id="a", cover_id=other)), "cover_id"),
        (review.RestoreOriginals(RestoreOriginalsRequest()), "item_ids"),
        (review.RestoreOriginals(RestoreOriginalsRequest(item_ids=["a"], all=True)), "item_ids"),
        (review.RestoreOriginals(RestoreOriginalsRequest(item_ids=["a", "a"])), "item_ids[1]"),
        (review.ListWaitingCovers(ListWaitingCoversRequest(trust=types_pb2.TRUST_RETIRED)), "trust"),
        (review.ListWaitingCovers(ListWaitingCoversRequest(page_token="?")), "page_token"),
        (review.ListAuditEntries(ListAuditEntriesRequest(page_size=1001)), "page_size"),
    ):
        assert await api.refused(call) == {field}
    assert await shown(api) == [original]
    assert await audit(api) == []


async def test_approving_keeps_the_cover_when_newer_candidates_fill_the_pool(api: Api) -> None:
    await api.put("a", "red")
    approved = await make(api, seed=1)
    await api.review.ApproveCover(ApproveCoverRequest(cover_id=approved.id))
    for seed in range(2, 20):
        await make(api, seed=seed)
    covers = (await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="a"))).covers
    assert len(covers) == 16
    assert approved.id in {c.id for c in covers}


async def test_a_server_without_made_covers_makes_none(tmp_path: Path) -> None:
    async with serving(Config(data_dir=str(tmp_path / "off"), port=0, made_covers="off", drain_s=0.0)) as off:
        await off.put("a", "red")
        call = off.covers.GenerateCovers(covers_pb2.GenerateCoversRequest(item_id="a"))
        with pytest.raises(grpc.aio.AioRpcError, match="made_covers=off"):
            await call.read()
        await off.catalog.GetItem(catalog_pb2.GetItemRequest(item_id="a"))
