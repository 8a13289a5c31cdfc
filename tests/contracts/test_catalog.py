"""The CatalogStore port."""

import base64
from dataclasses import replace

import numpy as np
import pytest
from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import (
    Cover,
    Origin,
    Provenance,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contracts.builders import Stores, cover, generated, item, unit


async def test_an_item_comes_back_as_it_went_in(stores: Stores) -> None:
    whole = item("ä/b 🎬", category="films", references=("blob:2", "blob:1"), updated_at=12.5)
    await stores.catalog.upsert_items([whole, item("plain")])
    assert await stores.catalog.item("ä/b 🎬") == whole
    assert await stores.catalog.item("plain") == item("plain")
    assert await stores.catalog.item("absent") is None
    assert await stores.catalog.known_items(["plain", "absent", "ä/b 🎬"]) == {"plain", "ä/b 🎬"}


async def test_a_second_upsert_replaces_the_item_and_keeps_its_covers(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a", references=("blob:1", "blob:2"))], [cover("c1", "a")])
    new = replace(item("a", references=("blob:3",)), title="New", category="x")
    await stores.catalog.upsert_items([new], [cover("c2", "a")])
    assert await stores.catalog.item("a") == new
    assert [c.id for c in (await stores.catalog.pools(["a"]))["a"]] == ["c1", "c2"]
    assert await stores.catalog.counts() == (1, 2)


async def test_replaced_references_that_nothing_uses_are_named(stores: Stores) -> None:
    old = [item("a", references=("blob:1", "blob:2", "blob:3", "blob:4")), item("b", references=("blob:4",))]
    assert list(await stores.catalog.upsert_items(old, [cover("c", "a", uri="blob:3")])) == []
    new = [item("a", references=("blob:2", "blob:5")), item("d", references=("blob:6",))]
    assert list(await stores.catalog.upsert_items(new)) == ["blob:1"], (
        "another item, a cover or the item itself uses the others"
    )
    moved = [item("a", references=("blob:2",)), item("d", references=("blob:5",))]
    assert list(await stores.catalog.upsert_items(moved)) == ["blob:6"]
    assert list(await stores.catalog.upsert_items(moved)) == []


async def test_a_cover_comes_back_as_it_went_in(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a")])
    whole = generated(
        "c", "a", rewards={"aesthetic": 0.25, "relevance": -1e-9}, width=96, height=64, taste=3, created_at=9.5
    )
    await stores.catalog.add_covers([whole])
    back = await stores.catalog.cover("c")
    assert back is not None
    assert back.provenance == whole.provenance
    assert (back.item_id, back.uri, dict(back.rewards)) == ("a", "blob:c", dict(whole.rewards))
    assert (back.width, back.height, back.taste, back.created_at) == (96, 64, 3, 9.5)
    np.testing.assert_allclose(back.embedding, whole.embedding, atol=1e-3)
    assert back.embedding.dtype == np.float32
    assert await stores.catalog.cover("absent") is None


@pytest.mark.parametrize("damage", [np.nan, np.inf])
async def test_a_broken_embedding_is_refused_and_nothing_of_its_batch_is_stored(stores: Stores, damage: float) -> None:
    bad = cover("c2", "a")
    bad.embedding[3] = damage
    with pytest.raises(InvalidInput, match="embedding"):
        await stores.catalog.upsert_items([item("a")], [cover("c1", "a"), bad])
    assert await stores.catalog.counts() == (0, 0)


async def test_pools_are_oldest_first_and_empty_for_known_items_only(stores: Stores) -> None:
    covers = [cover("c2", "a", created_at=2.0), cover("c3", "a", created_at=1.0), cover("c1", "a", created_at=2.0)]
    await stores.catalog.upsert_items([item("a"), item("bare")], covers)
    pools = await stores.catalog.pools(["bare", "absent", "a"])
    assert set(pools) == {"a", "bare"}
    assert [c.id for c in pools["a"]] == ["c3", "c1", "c2"]
    assert list(pools["bare"]) == []


async def test_the_items_of_covers(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a"), item("b")], [cover("c1", "a"), cover("c2", "b")])
    assert await stores.catalog.items_of(["c2", "absent", "c1"]) == {"c1": "a", "c2": "b"}
    assert await stores.catalog.items_of([]) == {}


async def test_covers_of_unknown_items_are_dropped(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a")])
    await stores.catalog.add_covers([cover("c1", "gone"), cover("c2", "a")])
    assert await stores.catalog.counts() == (1, 1)


async def test_a_cover_replaced_under_another_item_moves(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a"), item("b")], [cover("c", "a")])
    await stores.catalog.add_covers([cover("c", "b")])
    pools = await stores.catalog.pools(["a", "b"])
    assert ([c.id for c in pools["a"]], [c.id for c in pools["b"]]) == ([], ["c"])


async def test_deleting_returns_only_the_blobs_that_nobody_needs(stores: Stores) -> None:
    await stores.catalog.upsert_items(
        [item("a", references=("blob:own", "blob:shared")), item("b", references=("blob:shared",))],
        [cover("c1", "a", uri="blob:own"), cover("c2", "a", uri="blob:two"), cover("c3", "b", uri="blob:two")],
    )
    assert await stores.catalog.delete_item("a") == ["blob:own"]
    assert await stores.catalog.delete_item("a") is None
    assert await stores.catalog.cover("c1") is None
    assert await stores.catalog.counts() == (1, 1)
    assert sorted(await stores.catalog.delete_item("b") or ()) == ["blob:shared", "blob:two"]


async def test_removing_covers_keeps_blobs_in_use(stores: Stores) -> None:
    covers = [cover("c1", "a", uri="blob:ref"), cover("c2", "a", uri="blob:x"), cover("c3", "a", uri="blob:y")]
    await stores.catalog.upsert_items([item("a", references=("blob:ref",))], covers)
    assert list(await stores.catalog.remove_covers(["c1", "c2", "absent"])) == ["blob:x"]
    assert [c.id for c in (await stores.catalog.pools(["a"]))["a"]] == ["c3"]


async def test_every_cover_is_listed_once(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a")], [cover(f"c{n:04}", "a", n) for n in range(1203)])
    assert [c.id async for c in stores.catalog.all_covers()] == [f"c{n:04}" for n in range(1203)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 100])
async def test_pages_hold_every_item_once(stores: Stores, size: int) -> None:
    ids = ["a", "A", "aa", "b/ü", "c,d", "e", "🎬"]
    await stores.catalog.upsert_items([item(id, category="odd" if n % 2 else "even") for n, id in enumerate(ids)])
    for category, expected in (("", sorted(ids)), ("odd", sorted(ids[1::2])), ("none", [])):
        result: list[str] = []
        token = ""
        while True:
            page = await stores.catalog.items(size, token, category)
            assert len(page.rows) <= size
            result += [i.id for i in page.rows]
            token = page.next_token
            if not token:
                break
        assert result == expected


@pytest.mark.parametrize("token", ["x", "????", base64.urlsafe_b64encode(b"p2:a").decode(), "cDE6/w", "a" * 5000, "ü"])
async def test_a_foreign_page_token_is_refused(stores: Stores, token: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await stores.catalog.items(2, token)
    assert refused.value.violations[0].field == "page_token"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("upsert"), st.sampled_from("abc"), st.sampled_from("uvw")),
            st.tuples(st.just("cover"), st.sampled_from("abc"), st.sampled_from("uvwx")),
            st.tuples(st.just("remove"), st.sampled_from("uvwx"), st.none()),
            st.tuples(st.just("delete"), st.sampled_from("abc"), st.none()),
        ),
        max_size=15,
    )
)
async def test_any_history_agrees_with_two_dictionaries(
    stores: Stores, steps: list[tuple[str, str, str | None]]
) -> None:
    """Covers are named by their blob here, so that sharing and orphans happen often."""
    for id in "abc":
        await stores.catalog.delete_item(id)
    items: dict[str, str] = {}
    covers: dict[str, str] = {}
    for verb, what, other in steps:
        if verb == "upsert":
            items[what] = other or ""
            await stores.catalog.upsert_items([item(what, references=(other or "",))])
        elif verb == "cover":
            if what in items:
                covers[other or ""] = what
            await stores.catalog.add_covers([cover(other or "", what, uri=other)])
        else:
            old = (
                {what} & set(covers)
                if verb == "remove"
                else {items.get(what, "")} | {c for c in covers if covers[c] == what}
            )
            if verb == "remove":
                covers.pop(what, None)
                freed = set(await stores.catalog.remove_covers([what]))
            else:
                known = items.pop(what, None) is not None
                covers = {c: i for c, i in covers.items() if i != what}
                answer = await stores.catalog.delete_item(what)
                assert (answer is not None) == known
                freed = set(answer or ())
                old = old if known else set()
            assert freed == old - set(items.values()) - set(covers)
        pools = await stores.catalog.pools(list("abc"))
        assert {i: {c.id for c in pool} for i, pool in pools.items()} == {
            i: {c for c in covers if covers[c] == i} for i in items
        }


async def test_covers_made_for_one_user_are_found(stores: Stores) -> None:
    def of(id: str, user: str, item_id: str = "a") -> Cover:
        return cover(id, item_id, provenance=Provenance(Origin.GENERATED, "m", job_id="j", made_for=user))

    await stores.catalog.upsert_items([item("a"), item("b")], [cover("c0", "a"), of("c1", "mia"), of("c2", "noah")])
    await stores.catalog.add_covers([of("c3", "mia", "b"), of("c4", "mia")])
    assert {c.id for c in await stores.catalog.made_for("mia")} == {"c1", "c3", "c4"}
    await stores.catalog.add_covers([of("c1", "noah"), generated("c4", "a")])
    await stores.catalog.remove_covers(["c2"])
    assert [(c.id, c.item_id, c.provenance.made_for) for c in await stores.catalog.made_for("mia")] == [
        ("c3", "b", "mia")
    ]
    assert [c.id for c in await stores.catalog.made_for("noah")] == ["c1"]
    await stores.catalog.delete_item("b")
    assert await stores.catalog.made_for("mia") == []


async def test_a_covers_own_vector_goes_with_it_and_stays_when_it_is_replaced(stores: Stores) -> None:
    covers = [cover(f"c{n}", "b" if n == 3 else "a", n, uri=f"blob:{n}") for n in (1, 2, 3)]
    await stores.catalog.upsert_items([item("a"), item("b")], covers)
    vectors = {f"c{n}": unit(n, 1024) for n in (1, 2, 3)}
    await stores.catalog.put_vectors(vectors | {"unknown": unit(9, 1024)})
    stored = await stores.catalog.vectors(["c1", "c2", "c3", "unknown", "other"])
    assert sorted(stored) == ["c1", "c2", "c3"]
    assert all(np.array_equal(stored[id], vectors[id]) for id in stored)
    await stores.catalog.add_covers([cover("c1", "a", 7)])
    assert list(await stores.catalog.vectors(["c1"])) == ["c1"]
    await stores.catalog.remove_covers(["c2"])
    await stores.catalog.delete_item("b")
    await stores.catalog.upsert_items([item("b")], covers[1:])
    assert list(await stores.catalog.vectors(["c1", "c2", "c3"])) == ["c1"], "a new cover of the same id has none"
    await stores.catalog.drop_vectors()
    assert await stores.catalog.vectors(["c1"]) == {}
    assert await stores.catalog.vectors([]) == {}
