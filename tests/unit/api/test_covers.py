"""RecommendCovers, RankCovers, GetCover, ListCovers over the wire."""

import asyncio

import grpc
import pytest
from eyecatch.core.judgement import to_rewards
from eyecatch.core.types import Decision, Standing, Trust
from eyecatch.v1 import behavior_pb2, covers_pb2, types_pb2

from tests.contracts.builders import generated
from tests.unit.api.conftest import Api, event

Recommend = covers_pb2.RecommendCoversRequest


async def taught(api: Api) -> None:
    """Two items with a red and a blue cover each; mia likes red, noah likes blue."""
    await api.put("a", "red", "blue")
    await api.put("b", "red", "blue")
    for user, color in (("mia", 0), ("noah", 1)):
        cover = (await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="a"))).covers[color].id
        sent = event(f"e-{user}", user, "a", cover_id=cover)
        await api.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=[sent]))


async def test_each_user_gets_the_cover_they_like(api: Api) -> None:
    await taught(api)
    best = {}
    for user in ("mia", "noah"):
        answer = await api.covers.RecommendCovers(Recommend(user_id=user, item_ids=["b", "a"]))
        assert answer.personalised
        assert [i.item_id for i in answer.items] == ["b", "a"]
        best[user] = [i.covers[0].cover_id for i in answer.items]
        rank = await api.covers.RankCovers(covers_pb2.RankCoversRequest(user_id=user, item_id="b"))
        assert rank.covers[0].cover_id == best[user][0]
        assert rank.covers[0].score > rank.covers[1].score
    assert not set(best["mia"]) & set(best["noah"])


async def test_a_score_is_the_sum_of_its_parts(api: Api) -> None:
    await taught(api)
    answer = await api.covers.RecommendCovers(Recommend(user_id="mia", item_ids=["a"], covers_per_item=2))
    for cover in answer.items[0].covers:
        assert [p.name for p in cover.parts] == ["relevance", "preference"]
        assert cover.score == pytest.approx(sum(p.contribution for p in cover.parts), abs=1e-5)
        assert cover.parts[0].value == pytest.approx(0.5)
    assert {t.stage for t in answer.timings} == {"profile", "pool", "score"}


async def test_a_judged_cover_tells_its_judgement_and_others_have_none(api: Api) -> None:
    await api.put("a", "red")
    updates = {"available": 0.75, "space_mismatch": 0.2, "shape_hallucination": 0.05}
    rewards = {"relevance": 0.5, **to_rewards(updates)}
    judged = generated("judged", "a", rewards=rewards, ruling=Standing(Trust.TRUSTED))
    await api.app.parts.store.catalog.add_covers([judged])
    ranking = await api.covers.RankCovers(covers_pb2.RankCoversRequest(item_id="a"))
    answer = await api.covers.RecommendCovers(Recommend(item_ids=["a"], covers_per_item=5))
    assert len(ranking.covers) == len(answer.items[0].covers) == 2
    for cover in ranking.covers:
        expected = updates if cover.cover_id == "judged" else {}
        assert dict(cover.judgement) == pytest.approx(expected)
    for cover in (*ranking.covers, *answer.items[0].covers):
        parts = {p.name: p.value for p in cover.parts}
        assert ("reliability" in parts) == (cover.cover_id == "judged")
        if cover.cover_id == "judged":
            assert parts["reliability"] == pytest.approx(0.75)
            assert cover.score == pytest.approx(sum(p.contribution for p in cover.parts), abs=1e-5)
    assert not any(cover.judgement for cover in answer.items[0].covers), "the fast path tells the score's parts alone"
    one = await api.covers.RankCovers(covers_pb2.RankCoversRequest(item_id="a", limit=1))
    assert [dict(c.judgement) for c in one.covers] == [dict(ranking.covers[0].judgement)]


async def test_an_unknown_user_gets_the_unpersonalised_answer(api: Api) -> None:
    await taught(api)
    for user in ("nobody", ""):
        answer = await api.covers.RecommendCovers(Recommend(user_id=user, item_ids=["a"]))
        assert not answer.personalised
        assert answer.items[0].covers[0].parts[-1].value == 0.0
        assert not answer.degraded


async def test_unknown_items_are_told_apart_from_empty_ones(api: Api) -> None:
    await api.put("a", "red")
    await api.put("bare")
    for k in (1, 3):
        request = Recommend(user_id="mia", item_ids=["a", "bare", "gone"], covers_per_item=k)
        answer = await api.covers.RecommendCovers(request)
        assert [i.problem for i in answer.items] == [
            covers_pb2.ITEM_PROBLEM_UNSPECIFIED,
            covers_pb2.ITEM_PROBLEM_NO_COVER,
            covers_pb2.ITEM_PROBLEM_UNKNOWN_ITEM,
        ]
        assert [len(i.covers) for i in answer.items] == [1, 0, 0]
    await api.refused(api.covers.RecommendCovers(Recommend(item_ids=["gone"])), grpc.StatusCode.NOT_FOUND)


async def test_a_decision_is_logged_with_its_propensities(api: Api) -> None:
    await taught(api)
    answer = await api.covers.RecommendCovers(Recommend(user_id="mia", item_ids=["a", "b"]))
    await api.app.decisions.flush()
    decision: Decision | None = await api.app.parts.store.decisions.decision(answer.decision_id)
    assert decision is not None
    assert list(decision.cover_ids) == [i.covers[0].cover_id for i in answer.items]
    assert list(decision.propensities) == [1.0, 1.0]
    assert (decision.user_id, list(decision.item_ids)) == ("mia", ["a", "b"])


async def test_a_new_cover_and_a_deleted_item_are_seen_at_once(api: Api) -> None:
    from eyecatch.v1 import catalog_pb2

    await taught(api)
    await api.covers.RecommendCovers(Recommend(user_id="mia", item_ids=["a"]))
    await api.put("a", "lime", "white")
    listed = await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="a"))
    answer = await api.covers.RecommendCovers(Recommend(user_id="mia", item_ids=["a"], covers_per_item=5))
    assert {c.cover_id for c in answer.items[0].covers} == {c.id for c in listed.covers}
    assert len(listed.covers) == 2
    deleted = await api.catalog.DeleteItem(catalog_pb2.DeleteItemRequest(item_id="a"))
    assert deleted.covers_deleted == 2
    await api.refused(api.covers.RecommendCovers(Recommend(item_ids=["a"])), grpc.StatusCode.NOT_FOUND)
    get = covers_pb2.GetCoverRequest(cover_id=listed.covers[0].id)
    await api.refused(api.covers.GetCover(get), grpc.StatusCode.NOT_FOUND)


async def test_the_whole_catalogue_is_ranked_by_taste(api: Api) -> None:
    await taught(api)
    answer = await api.covers.RankCovers(covers_pb2.RankCoversRequest(user_id="mia", limit=3))
    assert len(answer.covers) == 3
    assert answer.covers[0].score == pytest.approx(1.0, abs=1e-3)
    nobody = covers_pb2.RankCoversRequest(user_id="nobody")
    await api.refused(api.covers.RankCovers(nobody), grpc.StatusCode.FAILED_PRECONDITION)


async def test_pages_of_covers_join_up(api: Api) -> None:
    await api.put("a", "red", "lime", "blue")
    calls, token = [], ""
    for _ in range(3):
        page = await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="a", page_size=1, page_token=token))
        calls += [c.id for c in page.covers]
        token = page.next_page_token
    assert token == ""
    assert len(set(calls)) == 3
    image = await api.covers.GetCover(covers_pb2.GetCoverRequest(cover_id=calls[0], include_image=True))
    assert image.cover.image[:4] == b"RIFF"
    assert image.cover.provenance.origin == types_pb2.ORIGIN_CATALOGUE


async def test_several_covers_come_at_once_and_unknown_ids_are_named(api: Api) -> None:
    await taught(api)
    listed = await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="a"))
    ids = [listed.covers[1].id, "nothing", listed.covers[0].id]
    answer = await api.covers.GetCovers(covers_pb2.GetCoversRequest(cover_ids=ids, include_image=True))
    assert [cover.id for cover in answer.covers] == [ids[0], ids[2]]
    assert {cover.image[:4] for cover in answer.covers} == {b"RIFF"}
    assert list(answer.missing_ids) == ["nothing"]


@pytest.mark.parametrize("ids", [[], ["x", "x"], [""], [f"c{n}" for n in range(51)]])
async def test_refused_lists_of_covers_are_named(api: Api, ids: list[str]) -> None:
    fields = await api.refused(api.covers.GetCovers(covers_pb2.GetCoversRequest(cover_ids=ids)))
    assert {field.split("[")[0] for field in fields} == {"cover_ids"}


async def test_many_calls_at_once_are_answered_alike(api: Api) -> None:
    await taught(api)
    request = Recommend(user_id="mia", item_ids=["a", "b"])
    answers = await asyncio.gather(*(api.covers.RecommendCovers(request) for _ in range(64)))
    assert len({a.items[0].covers[0].cover_id for a in answers}) == 1
    assert len({a.decision_id for a in answers}) == 64
