"""What the writers of profiles remember: it saves reads, and never changes what is stored."""

import json
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eyecatch.core.types import Action, Event, Position, Profile, Vector
from eyecatch.stores.profile_codec import reference
from eyecatch.stores.recent_writes import RecentWrites
from eyecatch.stores.redis import RedisStore, keys
from eyecatch.stores.redis.link import Command, Link
from eyecatch.stores.redis.log import _rows
from eyecatch.stores.redis.names import NAME_DAYS, WRITTEN_S, References
from eyecatch.stores.sqlite import SqliteStore
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.contracts.builders import MEAN, Each, cover, event, item, nothing
from tests.servers import RedisServer

USERS = [f"user-{n}" for n in range(4)]


def test_those_untouched_for_longest_leave_first() -> None:
    active: RecentWrites[int] = RecentWrites(2)
    for n, user in enumerate(["a", "b", "a", "c"]):
        active.take(user)
        active.put(user, n)
    assert (active.take("b"), active.take("a"), active.take("c")) == (None, 2, 3)
    assert len(active) == 0


def behaviour() -> list[tuple[list[Event], list[Position]]]:
    """Batches of all actions of a few users, a third of them late or twice, with positions."""
    rng = random.Random(5)
    sent: list[Event] = []
    for n in range(600):
        if sent and rng.random() < 0.1:
            sent.append(rng.choice(sent))
            continue
        time = 1e9 + n + (rng.random() - 0.9) * 500
        where = f"i{rng.randrange(5)}"
        more = {"cover_id": f"c{where}", "action": Action(rng.randrange(1, 7)), "dwell_ms": rng.randrange(99_999)}
        sent.append(event(f"an-event-{n}", rng.choice(USERS), where, time, **more))
    batches = []
    while sent:
        size = rng.randrange(1, 60)
        batch, sent = sent[:size], sent[size:]
        start = 1000 - len(sent)
        batches.append((batch, [Position("t", 0, start + k) for k in range(len(batch))]))
    return batches


async def catalogue(store: SqliteStore | RedisStore) -> None:
    items = [item(f"i{n}") for n in range(5)]
    await store.catalog.upsert_items(items, [cover(f"ci{n}", f"i{n}", n) for n in range(5)])


def updates(profile: Profile | None) -> tuple[object, ...]:
    assert profile is not None
    return (
        profile.event_count,
        profile.positions,
        profile.events,
        profile.recent_ids,
        profile.activity,
        profile.bots,
        profile.encoder,
        profile.embedding.tolist(),
    )


async def test_remembered_or_read_again_the_file_is_the_same(tmp_path: Path) -> None:
    result = []
    for again in (False, True):
        folder = tmp_path / str(again)
        store = SqliteStore.open(folder)
        await catalogue(store)
        new = 0
        for events, positions in behaviour():
            new += await store.profiles.absorb(events, MEAN, positions)
            if again:
                store.close()
                store = SqliteStore.open(folder)
        result.append((new, [updates(await store.profiles.profile(user)) for user in USERS]))
        store.close()
    assert result[0] == result[1]
    assert result[0][0] > 400


async def test_remembered_or_read_again_the_keys_are_the_same(redis_server: RedisServer) -> None:
    result = []
    for again in (False, True):
        redis_server.client.flushall()
        store = await RedisStore.open(redis_server.url)
        await catalogue(store)
        new = 0
        for events, positions in behaviour():
            new += await store.profiles.absorb(events, MEAN, positions)
            if again:
                await store.close()
                store = await RedisStore.open(redis_server.url)
        result.append((new, [updates(await store.profiles.profile(user)) for user in USERS]))
        await store.close()
    assert result[0] == result[1]
    assert result[0][0] > 400


async def test_what_was_rolled_back_is_not_remembered(tmp_path: Path) -> None:
    def fails(events: Sequence[Event]) -> Vector:
        raise ValueError("no")

    store = SqliteStore.open(tmp_path)
    await catalogue(store)
    await store.profiles.absorb([event("e1", cover_id="ci1")], MEAN)
    with pytest.raises(ValueError, match="no"):
        await store.profiles.absorb([event("e2", cover_id="ci2")], Each(fails))
    assert await store.profiles.absorb([event("e2", cover_id="ci2"), event("e3", cover_id="ci3")], MEAN) == 2
    profile = await store.profiles.profile("mia")
    assert (profile.event_count if profile else 0) == 3
    spy = Each(version=9)
    await store.profiles.absorb([event("e4")], spy)
    assert spy.calls == [[["e4", "e3", "e2", "e1"]]]
    store.close()


class Spy(Link):
    """Notes the commands by name; loses the connection before the next one if asked to."""

    sent: list[str]
    lose = False

    async def _send(self, commands: Sequence[Command]) -> tuple[list[Any], Exception | None]:
        if self.lose:
            self.lose = False
            return [], RedisConnectionError("lost")
        self.sent += [str(command[0]) for command in commands]
        return await super()._send(commands)


async def at_once(seconds: float) -> None:
    pass


@pytest.fixture
async def spy(redis_server: RedisServer) -> AsyncIterator[Spy]:
    redis_server.client.flushall()
    link = Spy((await Link.open(redis_server.url))._client, sleep=at_once)
    link.sent = []
    yield link
    await link.close()


async def test_a_user_of_before_costs_no_read_and_a_name_of_before_no_write(spy: Spy) -> None:
    store = RedisStore(spy, max_log=0)
    await store.profiles.absorb([event("e1", cover_id="c"), event("e2", "noah", cover_id="c")], nothing)
    assert sorted(set(spy.sent)) == ["EVAL", "EXISTS", "GET", "HMGET"]
    spy.sent.clear()
    assert await store.profiles.absorb([event("e3", cover_id="c"), event("e2", "noah", cover_id="c")], nothing) == 1
    assert spy.sent == ["EVAL"]


async def test_names_are_written_again_in_time_and_after_a_failure(spy: Spy) -> None:
    now = [0.0]
    names = References(spy, clock=lambda: now[0])
    for _ in range(2):
        await names.write([event("e", cover_id="c")])
    assert spy.sent == ["EVAL"]
    now[0] = WRITTEN_S
    await names.write([event("e", cover_id="c")])
    assert spy.sent == ["EVAL"] * 2
    spy.lose = True
    await names.write([event("e", "mia", "b")])
    await names.write([event("e", cover_id="c")])
    assert spy.sent == ["EVAL"] * 4, "the server may have lost what it had"


async def test_names_have_what_they_stand_for_and_end_one_day(spy: Spy, redis_server: RedisServer) -> None:
    events = [event(f"e{n}", "mia", f"item-{n}", cover_id=f"c{n % 2 or ''}") for n in range(2500)]
    await References(spy).write(events)
    assert spy.sent == ["EVAL"] * 3
    for e in (events[0], events[999], events[1000], events[2499]):
        key = keys.name(reference(e.item_id, e.cover_id))
        assert redis_server.client.get(key) == f"{e.item_id}\x1f{e.cover_id}".encode()
        assert redis_server.client.ttl(key) == pytest.approx(NAME_DAYS * 24 * 3600, abs=60)


async def test_who_is_forgotten_elsewhere_is_not_revived_by_what_is_remembered(
    spy: Spy, redis_server: RedisServer
) -> None:
    here, elsewhere = RedisStore(spy), await RedisStore.open(redis_server.url)
    await here.profiles.absorb([event("e1"), event("e2", "noah")], nothing)
    assert await elsewhere.profiles.forget("mia")
    assert await here.profiles.absorb([event("e3"), event("e4", "noah")], nothing) == 1
    assert redis_server.client.get(keys.profile("mia")) == b"\0"
    assert [e.user_id for _, e in await here.profiles.events()] == ["noah", "noah"]
    assert await here.profiles.absorb([event("e5")], nothing) == 0
    await elsewhere.close()


async def test_what_a_server_lost_is_absorbed_again_when_it_comes_again(spy: Spy, redis_server: RedisServer) -> None:
    store = RedisStore(spy)
    events = [event(f"e{n}") for n in range(3)]
    assert await store.profiles.absorb(events, nothing) == 3
    redis_server.client.flushall()
    spy.lose = True  # as servers do that restart, or fail over
    await store.profiles.profile("mia")
    assert await store.profiles.absorb(events, nothing) == 3
    profile = await store.profiles.profile("mia")
    assert profile is not None
    assert [(e.id, e.item_id) for e in profile.events] == [("e2", "a"), ("e1", "a"), ("e0", "a")]


async def test_what_another_process_absorbed_meanwhile_is_kept(spy: Spy, redis_server: RedisServer) -> None:
    here, elsewhere = RedisStore(spy), await RedisStore.open(redis_server.url)
    for n in range(3):
        assert await here.profiles.absorb([event(f"h{n}")], nothing) == 1
        assert await elsewhere.profiles.absorb([event(f"e{n}")], nothing) == 1
    profile = await here.profiles.profile("mia")
    assert profile is not None
    assert (profile.event_count, len(profile.events)) == (6, 6)
    np.testing.assert_array_equal(profile.embedding, 0)
    await elsewhere.close()


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(['a"b', "a\\", '","', "%s"])


_EVENTS = st.builds(
    Event, *[_TEXTS] * 3, st.sampled_from(Action), st.floats(1, 1e11), _TEXTS, _TEXTS, st.integers(0, 9)
)


@given(st.lists(_EVENTS, min_size=1, max_size=4))
def test_a_row_of_the_log_is_one_line_of_json(events: list[Event]) -> None:
    rows = _rows([event("plain"), *events, event("plain")]).split("\n")
    assert [json.loads(row) for row in rows] == [list(e) for e in [event("plain"), *events, event("plain")]]
