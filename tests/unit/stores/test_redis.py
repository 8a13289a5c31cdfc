"""The shared store's own promises, against a real server: several writers, forgetting, small profiles, lost answers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from eyecatch.core.errors import StoreDamaged, StoreError, StoreTooNew
from eyecatch.core.recommending.decisions import to_line
from eyecatch.core.types import Action, Cover, Decision, Event, Item, Job, Vector, zeros
from eyecatch.stores.redis import RedisStore, keys
from eyecatch.stores.redis.link import Command, Link
from eyecatch.stores.redis.queue import QueueOptions, RedisQueue
from redis.cluster import key_slot  # type: ignore[attr-defined]
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.contracts.builders import MEAN, Each, cover, event, item, nothing, unit
from tests.servers import RedisServer


@pytest.fixture
async def two(redis_server: RedisServer) -> AsyncIterator[tuple[RedisStore, RedisStore]]:
    """Two stores over one server, as two processes would have them."""
    redis_server.client.flushall()
    first, second = await RedisStore.open(redis_server.url), await RedisStore.open(redis_server.url)
    yield first, second
    await first.close()
    await second.close()


async def test_two_processes_lose_no_event_of_one_user(two: tuple[RedisStore, RedisStore]) -> None:
    writes = [store.profiles.absorb([event(f"{n}/{m}")], nothing) for n in range(20) for m, store in enumerate(two)]
    assert sum(await asyncio.gather(*writes)) == 40
    profile = await two[0].profiles.profile("mia")
    assert profile is not None
    assert profile.event_count == 40
    assert len({e.id for _, e in await two[0].profiles.events()}) == 40


async def test_two_processes_count_an_event_that_both_got_once(two: tuple[RedisStore, RedisStore]) -> None:
    events = [event(f"e{n}", user=f"u{n % 3}") for n in range(12)]
    # Each may claim what both would have written alike to the byte, within one millisecond.
    assert 12 <= sum(await asyncio.gather(*(s.profiles.absorb(events, nothing) for s in two))) <= 24
    profiles = [await two[0].profiles.profile(f"u{n}") for n in range(3)]
    assert [p.event_count for p in profiles if p] == [4, 4, 4]


async def test_two_processes_change_the_catalogue_and_the_queue(two: tuple[RedisStore, RedisStore]) -> None:
    await two[0].catalog.upsert_items([item("a")])
    await asyncio.gather(*[two[n % 2].catalog.add_covers([cover(f"c{n}", "a", n)]) for n in range(20)])
    assert await two[1].catalog.counts() == (1, 20)
    await asyncio.gather(*[two[n % 2].queue.put(Job(f"j{n}", f"k{n % 10}", f"i{n % 10}")) for n in range(20)])
    assert await two[0].queue.waiting() == 10
    taken = await asyncio.gather(*[two[n % 2].queue.take() for n in range(12)])
    assert len({job.id for job in taken if job}) == 10


async def test_who_is_forgotten_while_their_events_are_absorbed_stays_forgotten(
    two: tuple[RedisStore, RedisStore], redis_server: RedisServer
) -> None:
    def forgotten_meanwhile(events: Sequence[Event]) -> Vector:
        if events[0].user_id == "mia":
            redis_server.client.set(keys.profile("mia"), b"\0")
        return zeros()

    events = [event("e1"), event("e2", user="noah")]
    assert await two[0].profiles.absorb(events, Each(forgotten_meanwhile)) == 1
    assert await two[0].profiles.profile("mia") is None
    assert [e.user_id for _, e in await two[0].profiles.events()] == ["noah"]


async def test_a_decision_written_while_its_user_is_forgotten_goes_too(
    two: tuple[RedisStore, RedisStore], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = two[0].decisions
    send = log._link.many

    async def forgotten_before_writing(commands: Sequence[Command]) -> list[Any]:
        if commands and commands[0][0] == "SADD":
            await two[1].profiles.forget("mia")
        return await send(commands)

    monkeypatch.setattr(log._link, "many", forgotten_before_writing)
    await log.append([to_line(Decision(id, user, 1.0, (), (), ())) for id, user in (("d1", "mia"), ("d2", "noah"))])
    assert await log.decision("d1") is None
    assert await log.decision("d2") is not None
    assert not redis_server.client.exists(keys.decisions_of("mia"))


async def test_no_key_and_nothing_forgotten_names_a_user(
    two: tuple[RedisStore, RedisStore], redis_server: RedisServer
) -> None:
    user = "mia@example.com"
    await two[0].profiles.absorb([event("e1", user=user)], nothing)
    await two[0].decisions.append([to_line(Decision("d1", user, 1.0, ("a",), ("c",), (0.5,)))])
    names = list(redis_server.client.scan_iter())
    assert not [key for key in names if user.encode() in key]
    assert [key for key in names if user.encode() in (redis_server.client.dump(key) or b"")]
    assert await two[0].profiles.forget(user)
    names = list(redis_server.client.scan_iter())
    left = [key for key in names if user.encode() in (redis_server.client.dump(key) or b"")]
    assert left == []
    assert redis_server.client.get(keys.profile(user)) == b"\0"


@pytest.mark.parametrize("user", ["mia", "{", "}", "{}", "a{b}c", "}{", "ü" * 64])
def test_what_belongs_to_a_user_is_in_one_slot(user: str) -> None:
    assert key_slot(keys.profile(user).encode()) == key_slot(keys.decisions_of(user).encode())


def test_the_catalogue_is_in_one_slot_and_so_are_the_jobs() -> None:
    catalog = [
        keys.CATALOG_GUARD,
        keys.ITEMS,
        keys.ITEM_IDS,
        keys.COVERS,
        keys.COVER_IDS,
        keys.category("a{b}"),
        keys.pool("{x}"),
        keys.users_of_blob("blob:{}"),
    ]
    jobs = [keys.QUEUE_GUARD, keys.JOBS, keys.JOB_KEYS, keys.JOB_SEQUENCE, keys.QUEUED, keys.RUNNING, keys.OVER]
    for group in (catalog, jobs, [keys.LOG, keys.LOG_SEQUENCE]):
        assert len({key_slot(key.encode()) for key in group}) == 1


async def test_a_full_profile_has_at_most_1024_bytes_and_knows_its_items(
    two: tuple[RedisStore, RedisStore], redis_server: RedisServer
) -> None:
    await two[0].catalog.upsert_items([item("a")], [cover("c", "a", 1)])
    events = [
        Event(
            f"{n:032x}", "mia", f"item-{n:060}", Action.CLICK, 1e9 + n, "c" if n == 99 else f"cover-{n:060}", "d" * 28
        )
        for n in range(100)
    ]
    await two[0].profiles.absorb(events, MEAN)
    assert 900 < redis_server.client.strlen(keys.profile("mia")) <= 1024
    profile = await two[1].profiles.profile("mia")
    assert profile is not None
    assert [(e.item_id, e.cover_id) for e in profile.events] == [
        (e.item_id, e.cover_id) for e in reversed(events[-32:])
    ]
    await two[1].profiles.absorb([event("later", time=2e9, cover_id="c")], MEAN)
    result = await two[0].profiles.embedding("mia", MEAN)
    assert result is not None
    assert float(result @ unit(1)) > 0.99


async def test_another_process_sees_new_embeddings_of_covers_within_seconds(
    two: tuple[RedisStore, RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    embeddings = two[1].profiles._embeddings
    monkeypatch.setattr(embeddings, "_clock", lambda: now[0])
    await two[0].catalog.upsert_items([item("a")], [cover("c", "a", 1)])
    like = event("e", cover_id="c")
    assert float((await embeddings.of([like]))["c"] @ unit(1)) > 0.99
    await two[0].catalog.add_covers([cover("c", "a", 2)])
    assert float((await embeddings.of([like]))["c"] @ unit(1)) > 0.99
    now[0] += 5.1
    assert float((await embeddings.of([like]))["c"] @ unit(2)) > 0.99


class Forgetful(Link):
    """Every answer to a script is lost once, after the server has run it."""

    lost: set[str]

    async def _send(self, commands: Sequence[Command]) -> tuple[list[Any], Exception | None]:
        sent = await super()._send(commands)
        if commands[0][0] == "EVAL" and repr(commands) not in self.lost:
            self.lost.add(repr(commands))
            return [], RedisConnectionError("the answer was lost")
        return sent


async def test_an_answer_that_was_lost_changes_nothing_twice(
    two: tuple[RedisStore, RedisStore], redis_server: RedisServer
) -> None:
    async def at_once(seconds: float) -> None:
        pass

    healthy = await Link.open(redis_server.url)
    link = Forgetful(healthy._client, sleep=at_once)
    link.lost = set()
    store = RedisStore(link, max_log=0)
    await store.catalog.upsert_items([Item("a", "A")], [Cover("c", "a", "blob:c", unit(1))])
    assert await store.profiles.absorb([event("e1"), event("e2")], MEAN) == 2
    assert (await store.queue.put(Job("j", "k", "a"))).job.id == "j"
    job = await store.queue.take()
    assert (job.attempts if job else None) == 1
    assert await store.queue.waiting() == 0
    profile = await two[0].profiles.profile("mia")
    assert profile is not None
    assert profile.event_count == 2
    assert len(link.lost) == 6, "five that write, and that of the clock"
    await link.close()


async def test_a_job_of_a_dead_worker_is_taken_again_after_its_lease(redis_server: RedisServer) -> None:
    redis_server.client.flushall()
    link = await Link.open(redis_server.url)
    now = [1e9]
    dead, alive = (RedisQueue(link, QueueOptions(9, lease_s=30), clock=lambda: now[0]) for _ in range(2))
    for n in range(2):
        await dead.put(Job(f"j{n}", f"k{n}", f"i{n}"))
    assert (job := await dead.take())
    assert job.id == "j0"
    assert await alive.recover() == 0, "its worker may be alive"
    now[0] += 31
    assert (job := await alive.take())
    assert (job.id, job.attempts) == ("j0", 2)
    assert (job := await alive.take())
    assert job.id == "j1"
    assert await alive.take() is None
    await link.close()


async def test_finished_jobs_are_forgotten_in_the_end(
    two: tuple[RedisStore, RedisStore], monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer
) -> None:
    monkeypatch.setattr("eyecatch.stores.redis.queue.KEEP_FINISHED", 3)
    queue = two[0].queue
    for n in range(6):
        await queue.put(Job(f"j{n}", f"k{n}", "a"))
        await queue.take()
        await queue.finish(f"j{n}", [])
    assert [n for n in range(6) if await queue.status(f"j{n}")] == [3, 4, 5]
    assert redis_server.client.hlen(keys.JOB_KEYS) == 3


async def test_what_somebody_else_wrote_is_a_named_error(redis_server: RedisServer) -> None:
    redis_server.client.flushall()
    redis_server.client.set(keys.LAYOUT, 99)
    with pytest.raises(StoreTooNew, match=r"layout 99.* up to 3"):
        await RedisStore.open(redis_server.url)
    redis_server.client.set(keys.LAYOUT, "x")
    with pytest.raises(StoreError, match="another database"):
        await RedisStore.open(redis_server.url)
    redis_server.client.flushall()
    store = await RedisStore.open(redis_server.url)
    redis_server.client.set(keys.profile("mia"), b"\x01rubbish")
    redis_server.client.hset(keys.ITEMS, "a", "rubbish")
    redis_server.client.hset(keys.COVERS, "c", b"\0" * 128 + b"[]")
    for call in (
        store.profiles.embedding("mia", MEAN),
        store.profiles.profile("mia"),
        store.profiles.absorb([event("e")], nothing),
        store.catalog.item("a"),
        store.catalog.cover("c"),
    ):
        with pytest.raises(StoreDamaged):
            await call
    redis_server.client.delete(keys.ITEMS)
    redis_server.client.set(keys.ITEMS, "of another type")
    with pytest.raises(StoreError, match="refuses a command"):
        await store.catalog.item("a")
    await store.close()


async def test_the_log_is_bounded_and_may_be_left_out(redis_server: RedisServer) -> None:
    redis_server.client.flushall()
    link = await Link.open(redis_server.url)
    bounded, none = RedisStore(link, max_log=100), RedisStore(link, max_log=0)
    for start in range(0, 1000, 200):
        await bounded.profiles.absorb([event(f"e{n}", user=f"u{n}") for n in range(start, start + 200)], nothing)
    listed = await bounded.profiles.events()
    assert 100 <= len(listed) <= 300, "the server trims whole nodes of its stream"
    assert listed[-1][0] == 1000
    assert await none.profiles.absorb([event("more")], nothing) == 1
    assert len(await bounded.profiles.events(after=1000)) == 0
    await link.close()
