"""A new item among clicked ones through the server: its own cover that looks like clicked ones comes first, and no other item's cover."""

from pathlib import Path

import pytest
from eyecatch.config import Config
from eyecatch.v1 import covers_pb2, types_pb2

from tests.unit.api.conftest import Api, report
from tests.waiting import until

WEIGHTS = {"learned": "clicks=1", "default": ""}


@pytest.fixture(params=WEIGHTS)
def config(tmp_path: Path, request: pytest.FixtureRequest) -> Config:
    return Config(
        data_dir=str(tmp_path / "data"),
        port=0,
        exploration=0.0,
        drain_s=0.0,
        reward_weights=WEIGHTS[request.param],
        clicks_every_s=1.0,
    )


async def ids(api: Api, item: str) -> list[str]:
    covers = (await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id=item))).covers
    return [cover.id for cover in covers]


async def ranking(api: Api, item: str) -> list[types_pb2.ScoredCover]:
    return list((await api.covers.RankCovers(covers_pb2.RankCoversRequest(item_id=item))).covers)


async def test_a_new_items_own_cover_comes_first_where_near_ones_are_clicked(api: Api, config: Config) -> None:
    await api.put("a", "#ff0000", "#0000ff")
    await api.put("new", "#1010f0", "#f01010")
    first, _ = before = [cover.cover_id for cover in await ranking(api, "new")]
    assert set(before) == set(await ids(api, "new"))
    # Of the covers of "a" the one is clicked that is not like the first one of "new".
    colours = {cover.cover_id: None for cover in await ranking(api, "a")}
    for id in colours:
        near = api.app.parts.index.search(await _embedding(api, id), 2)
        liked = first not in [cover_id for cover_id, _ in near]
        await report(api, id, range(300) if liked else range(300, 600), 90 if liked else 5)

    async def turned() -> bool:
        return [cover.cover_id for cover in await ranking(api, "new")] == before[::-1]

    if not config.reward_weights:
        assert not await turned()
        assert "clicks" not in {part.name for cover in await ranking(api, "new") for part in cover.parts}
        return
    await until(turned, "the ranking by borrowed clicks")
    best, other = await ranking(api, "new")
    parts = [{part.name: part.value for part in cover.parts} for cover in (best, other)]
    assert parts[0]["clicks"] > 0.1 > -0.1 > parts[1]["clicks"]


async def _embedding(api: Api, cover_id: str):
    cover = await api.app.parts.store.catalog.cover(cover_id)
    assert cover is not None
    return cover.embedding
