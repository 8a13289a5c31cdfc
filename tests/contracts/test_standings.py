"""Standings of covers and the audit record of the CatalogStore port."""

import asyncio

import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import ORIGINAL, UNCHECKED, AuditEntry, Cover, Standing, StandingChange, Trust

from tests.contracts.builders import Stores, cover, generated, item

CANDIDATE, TRUSTED = Standing(Trust.CANDIDATE), Standing(Trust.TRUSTED)


def entry(cover_id: str, action: str = "approve", at: float = 5.0) -> AuditEntry:
    return AuditEntry(at, "ann", action, "a", cover_id, "nice ✓")


def change(cover_id: str, before: Standing, after: Standing) -> StandingChange:
    return StandingChange(before, after, entry(cover_id))


async def one(stores: Stores, id: str) -> Cover:
    result = await stores.catalog.cover(id)
    assert result is not None
    return result


async def test_a_standing_comes_back_as_it_went_in(stores: Stores) -> None:
    ruling = Standing(Trust.RETIRED, ("blurred: ✗", "too small"), pinned=True)
    await stores.catalog.upsert_items(
        [item("a")], [cover("c", "a", ruling=ruling), generated("g", "a"), cover("o", "a")]
    )
    assert (await one(stores, "c")).standing == ruling
    assert (await one(stores, "g")).standing == UNCHECKED
    assert (await one(stores, "o")).standing == ORIGINAL
    assert [c.standing for c in (await stores.catalog.pools(["a"]))["a"]] == [ruling, UNCHECKED, ORIGINAL]


async def test_a_change_is_made_and_recorded_if_nobody_was_faster(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a")], [generated("g1", "a", ruling=CANDIDATE), generated("g2", "a")])
    changes = [change("g1", CANDIDATE, TRUSTED), change("g2", CANDIDATE, TRUSTED), change("absent", CANDIDATE, TRUSTED)]
    assert await stores.catalog.change_standings(changes) == ["g1"]
    assert (await one(stores, "g1")).standing == TRUSTED
    assert (await one(stores, "g2")).standing == UNCHECKED
    assert (await stores.catalog.audit(10)).rows == (entry("g1"),)
    racing = [stores.catalog.change_standings([change("g1", TRUSTED, CANDIDATE)]) for _ in range(5)]
    assert sorted(map(len, await asyncio.gather(*racing))) == [0, 0, 0, 0, 1]


async def test_an_import_again_changes_no_decision(stores: Stores) -> None:
    retired = Standing(Trust.RETIRED, ("ugly",))
    await stores.catalog.upsert_items([item("a")], [cover("c", "a")])
    await stores.catalog.change_standings([change("c", ORIGINAL, retired)])
    await stores.catalog.upsert_items([item("a")], [cover("c", "a", seed=2)])
    assert (await one(stores, "c")).standing == retired
    await stores.catalog.add_covers([cover("c", "a", ruling=TRUSTED)])
    assert (await one(stores, "c")).standing == TRUSTED


async def test_covers_that_wait_are_listed_by_their_trust(stores: Stores) -> None:
    trial = Standing(Trust.ON_TRIAL)
    covers = [generated(f"g{n}", "a", ruling=trial if n % 2 else CANDIDATE) for n in range(7)]
    await stores.catalog.upsert_items(
        [item("a"), item("b")], [*covers, cover("o", "a"), generated("t", "a", ruling=TRUSTED)]
    )
    page = await stores.catalog.waiting_covers(Trust.CANDIDATE, 3)
    assert [c.id for c in page.rows] == ["g0", "g2", "g4"]
    page = await stores.catalog.waiting_covers(Trust.CANDIDATE, 3, page.next_token)
    assert ([c.id for c in page.rows], page.next_token) == (["g6"], "")
    await stores.catalog.change_standings([change("g1", trial, TRUSTED), change("g3", trial, CANDIDATE)])
    await stores.catalog.remove_covers(["g0"])
    await stores.catalog.add_covers([generated("g2", "b", ruling=TRUSTED)])
    ids = {t: [c.id for c in (await stores.catalog.waiting_covers(t, 100)).rows] for t in Trust}
    assert ids == {Trust.CANDIDATE: ["g3", "g4", "g6"], Trust.ON_TRIAL: ["g5"], Trust.TRUSTED: [], Trust.RETIRED: []}
    await stores.catalog.delete_item("a")
    assert (await stores.catalog.waiting_covers(Trust.CANDIDATE, 100)).rows == ()


async def test_the_audit_record_is_newest_first_and_in_pages(stores: Stores) -> None:
    assert (await stores.catalog.audit(10)).rows == ()
    await stores.catalog.upsert_items([item("a")], [generated(f"g{n}", "a") for n in range(5)])
    for n in range(5):
        await stores.catalog.remove_covers([f"g{n}"], [entry(f"g{n}", "delete", float(n))])
    first = await stores.catalog.audit(3)
    second = await stores.catalog.audit(3, first.next_token)
    assert [e.cover_id for e in (*first.rows, *second.rows)] == ["g4", "g3", "g2", "g1", "g0"]
    assert second.next_token == ""
    assert await stores.catalog.cover("g4") is None


@pytest.mark.parametrize("token", ["x", "cDE6YQ", "p1:9", "cDE6LTE"])
async def test_a_token_of_another_making_is_refused(stores: Stores, token: str) -> None:
    with pytest.raises(InvalidInput, match="page_token"):
        await stores.catalog.audit(3, token)
