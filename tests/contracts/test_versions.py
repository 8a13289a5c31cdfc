"""User embeddings of several encoder versions in one ProfileStore; walking over all users; the Notes port."""

import asyncio

import numpy as np
from eyecatch.core.ports import ProfileStore
from eyecatch.core.types import Action, Position, Vector

from tests.contracts.builders import MEAN, Each, Stores, cover, event, item, nothing, unit

OLD = Each(lambda events: unit(100 + len(events)), version=7)
NEW = Each(lambda events: unit(200 + len(events)), version=65_535)


async def observations(profiles: ProfileStore, batch: int = 1000) -> list[tuple[str, int, Vector]]:
    """(key, encoder, embedding) of all users."""
    result = []
    async for heads in profiles.scan(batch):
        assert len(heads.keys) <= batch
        result += list(zip(heads.keys, heads.encoders.tolist(), heads.embeddings, strict=True))
    return result


def same(result: Vector | None, seed: int) -> bool:
    return result is not None and bool(np.allclose(result, unit(seed), atol=2e-3))


async def test_what_another_encoder_stored_is_never_given_out(stores: Stores) -> None:
    await stores.profiles.absorb([event("e1"), event("e2", time=1e9 + 1)], OLD)
    assert same(await stores.profiles.embedding("mia", OLD), 102)
    assert same(await stores.profiles.embedding("mia", NEW), 202)
    assert same(await stores.profiles.embedding("mia", OLD), 102), (
        "nothing was written: both versions read side by side"
    )
    profile = await stores.profiles.profile("mia")
    assert profile is not None
    assert profile.encoder == OLD.version
    await stores.profiles.absorb([event("e3", time=1e9 + 2)], OLD)
    assert same(await stores.profiles.embedding("mia", NEW), 203), "an absorption of others is seen"
    await stores.profiles.absorb([event("e4", time=1e9 + 3)], NEW)
    assert same(await stores.profiles.embedding("mia", NEW), 204)
    assert same(await stores.profiles.embedding("mia", OLD), 104)


async def test_a_user_is_encoded_anew_once_not_at_every_read(stores: Stores) -> None:
    await stores.profiles.absorb([event("e1"), event("i", action=Action.IMPRESSION)], OLD)
    spy = Each(version=9)
    assert await stores.profiles.embedding("mia", spy) is None, "no taste in the eyes of this one"
    spy.one = lambda events: unit(3)
    await stores.profiles.absorb([event("e2", time=1e9 + 1)], OLD)
    for _ in range(5):
        assert same(await stores.profiles.embedding("mia", spy), 3)
    assert spy.calls == [[["e1"]], [["e2", "e1"]]]


async def test_encoding_anew_sees_covers_and_forgetting(stores: Stores) -> None:
    await stores.catalog.upsert_items([item("a")], [cover("c1", "a", 1)])
    await stores.profiles.absorb([event("e1", cover_id="c1")], OLD)
    assert same(await stores.profiles.embedding("mia", MEAN), 1)
    await stores.profiles.forget("mia")
    assert await stores.profiles.embedding("mia", MEAN) is None
    assert await stores.profiles.embedding("mia", OLD) is None


async def test_a_position_that_moves_keeps_version_and_embedding_together(stores: Stores) -> None:
    await stores.profiles.absorb([event("e1")], OLD, [Position("t", 0, 1)])
    await stores.profiles.absorb([event("e1")], NEW, [Position("t", 0, 2)])
    ((_, version, embedding),) = await observations(stores.profiles)
    assert (version, same(embedding, 101)) == (OLD.version, True)


async def test_all_users_are_walked_over(stores: Stores) -> None:
    assert await observations(stores.profiles) == []
    await stores.profiles.absorb([event(f"e{n}", f"u{n}") for n in range(25)], OLD)
    await stores.profiles.absorb([event("e", "zero")], nothing)
    await stores.profiles.forget("u3")
    result = {key: (version, embedding) for key, version, embedding in await observations(stores.profiles, 7)}
    assert len(result) == 25
    assert sorted(version for version, _ in result.values()) == [nothing.version, *[OLD.version] * 24]
    assert all(same(e, 101) if v == OLD.version else not e.any() for v, e in result.values())


async def test_profiles_are_encoded_anew_in_one_call(stores: Stores) -> None:
    await stores.profiles.absorb([event(f"e{n}", f"u{n % 5}", time=1e9 + n) for n in range(15)], OLD)
    await stores.profiles.absorb([event("e", "done")], NEW)
    keys = [key for key, _, _ in await observations(stores.profiles)]
    before = await stores.profiles.profile("u1")
    NEW.calls.clear()
    assert await stores.profiles.reencode([*keys, "nobody"], NEW) == 5
    assert len(NEW.calls) == 1
    assert sorted(map(tuple, NEW.calls[0])) == [(f"e{10 + n}", f"e{5 + n}", f"e{n}") for n in range(5)]
    assert await stores.profiles.reencode(keys, NEW) == 0
    assert {version for _, version, _ in await observations(stores.profiles)} == {NEW.version}
    after = await stores.profiles.profile("u1")
    assert before is not None
    assert after is not None
    assert same(after.embedding, 203)
    assert (after.events, after.event_count, after.updated_at) == (before.events, before.event_count, before.updated_at)
    assert (after.positions, after.activity, after.bots) == (before.positions, before.activity, before.bots)
    assert same(await stores.profiles.embedding("u1", NEW), 203)
    assert same(await stores.profiles.embedding("u1", OLD), 103), "servers of the old version live on"


async def test_the_forgotten_are_not_encoded_anew(stores: Stores) -> None:
    await stores.profiles.absorb([event("e1")], OLD)
    ((key, _, _),) = await observations(stores.profiles)
    await stores.profiles.forget("mia")
    assert await stores.profiles.reencode([key], NEW) == 0
    assert await stores.profiles.embedding("mia", NEW) is None
    assert await observations(stores.profiles) == []


async def test_encoding_anew_and_absorbing_at_once_lose_nothing(stores: Stores) -> None:
    users = [f"u{n}" for n in range(20)]
    await stores.profiles.absorb([event("e0", user) for user in users], OLD)
    keys = [key for key, _, _ in await observations(stores.profiles)]
    absorbing = [
        stores.profiles.absorb([event(f"e{n}", user, time=1e9 + n) for user in users], OLD if n % 2 else NEW)
        for n in range(1, 7)
    ]
    reencoding = [stores.profiles.reencode(keys, OLD if n % 2 else NEW) for n in range(6)]
    await asyncio.gather(*(work for pair in zip(absorbing, reencoding, strict=True) for work in pair))
    for user in users:
        profile = await stores.profiles.profile(user)
        assert profile is not None
        assert profile.event_count == 7
        assert {e.id for e in profile.events} == {f"e{n}" for n in range(7)}
        assert same(profile.embedding, (100 if profile.encoder == OLD.version else 200) + 7)


async def test_notes_are_replaced_by_whoever_knows_them(stores: Stores) -> None:
    notes = stores.notes
    assert await notes.read("n") is None
    assert await notes.replace("n", b"x", b"y") is False
    assert await notes.replace("n", None, b"\0one") is True
    assert await notes.replace("n", None, b"two") is False
    assert await notes.read("n") == b"\0one"
    assert await notes.replace("n", b"no", b"two") is False
    assert await notes.replace("n", b"\0one", b"") is True
    assert await notes.read("n") == b""
    assert await notes.replace("n", None, b"z") is False, "empty is not absent"
    assert await notes.replace("n", b"", b"z") is True
    assert await notes.read("other") is None
    won = await asyncio.gather(*(notes.replace("race", None, b"%d" % n) for n in range(10)))
    assert sum(won) == 1
    assert await notes.read("race") == b"%d" % won.index(True)
