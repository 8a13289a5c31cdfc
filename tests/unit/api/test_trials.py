"""A trial through the server: a made cover is shown in a bounded share of decisions, and clicks decide about it."""

from collections import Counter
from pathlib import Path

import pytest
from eyecatch.config import Config
from eyecatch.v1 import covers_pb2, review_pb2, types_pb2

from tests.unit.api.conftest import Api, report
from tests.waiting import until

SHARE, ROUNDS = 0.2, 2000


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        data_dir=str(tmp_path / "data"),
        port=0,
        made_covers="trial",
        trial_share=SHARE,
        trial_every_s=0.05,
        exploration=0.0,
        drain_s=0.0,
    )


async def shown(api: Api, rounds: int) -> Counter[str]:
    request = covers_pb2.RecommendCoversRequest(user_id="mia", item_ids=["a"])
    answers = [(await api.covers.RecommendCovers(request)).items[0].covers[0] for _ in range(rounds)]
    return Counter(answer.cover_id for answer in answers)


@pytest.mark.parametrize(
    ("clicks", "trust"), [(90, types_pb2.TRUST_TRUSTED), (1, types_pb2.TRUST_RETIRED)], ids=["better", "worse"]
)
async def test_clicks_decide_about_a_cover_that_few_see(api: Api, clicks: int, trust: int) -> None:
    await api.put("a", "red")
    (original,) = await shown(api, 1)
    updates = api.covers.GenerateCovers(covers_pb2.GenerateCoversRequest(item_id="a"))
    (new,) = [u.cover async for u in updates if u.WhichOneof("update") == "cover"]
    assert new.trust == types_pb2.TRUST_ON_TRIAL
    counts = await shown(api, ROUNDS)
    assert counts[new.id] / ROUNDS == pytest.approx(SHARE, abs=4 * (SHARE * (1 - SHARE) / ROUNDS) ** 0.5)
    assert set(counts) == {original, new.id}
    await report(api, original, range(300), 45)
    await report(api, new.id, range(300, 600), clicks)

    async def decided() -> bool:
        cover = await api.covers.GetCover(covers_pb2.GetCoverRequest(cover_id=new.id))
        return bool(cover.cover.trust == trust)

    await until(decided, "the verdict")
    entries = (await api.review.ListAuditEntries(review_pb2.ListAuditEntriesRequest())).entries
    assert [(entry.by, entry.cover_id) for entry in entries] == [("trial", new.id)]

    async def followed() -> bool:  # the verdict is in the store before it is in the pools
        if trust == types_pb2.TRUST_RETIRED:
            return set(await shown(api, 100)) == {original}
        ranked = await api.covers.RankCovers(covers_pb2.RankCoversRequest(item_id="a"))
        return {c.cover_id for c in ranked.covers} == {original, new.id}

    await until(followed, "the pools that follow it")
