"""Redis full, read-only, slow, dead, away at start or failing over: named errors, retries with a limit, nothing half done."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator

import pytest
from eyecatch.core.errors import InvalidInput, StoreError, StoreFull, Unavailable
from eyecatch.stores.redis import RedisStore, keys
from eyecatch.stores.redis.link import ATTEMPTS, PAUSE_S, WAIT, Link
from redis.asyncio import RedisCluster
from redis.cluster import key_slot  # type: ignore[attr-defined]

from tests.contracts.builders import MEAN, cover, event, item, nothing
from tests.servers import RedisServer, free_port, running, running_cluster, until

pytestmark = pytest.mark.server


class Sleeper:
    """Stands for asyncio.sleep: notes the delays and calls `then` before the second attempt."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.then = lambda: None

    async def __call__(self, seconds: float) -> None:
        self.delays.append(seconds)
        self.then()
        self.then = lambda: None


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
async def store(redis_server: RedisServer, sleeper: Sleeper) -> AsyncIterator[RedisStore]:
    redis_server.client.flushall()
    link = await Link.open(redis_server.url, sleep=sleeper)
    yield RedisStore(link)
    await link.close()
    redis_server.client.config_set("maxmemory", 0)
    redis_server.client.replicaof("NO", "ONE")


async def test_a_full_server_refuses_whole_writes_at_once_and_goes_on(
    store: RedisStore, sleeper: Sleeper, redis_server: RedisServer
) -> None:
    await store.profiles.absorb([event("e1")], nothing)
    await store.catalog.upsert_items([item("a")], [cover("c", "a")])
    redis_server.client.config_set("maxmemory", 1)
    for call in (
        store.profiles.absorb([event("e2")], nothing),
        store.catalog.add_covers([cover("c2", "a")]),
        store.profiles.forget("mia"),
    ):
        with pytest.raises(StoreFull, match="maxmemory"):
            await call
    assert sleeper.delays == [], "waiting does not make room"
    profile = await store.profiles.profile("mia")
    assert profile is not None
    assert profile.event_count == 1
    assert await store.catalog.counts() == (1, 1)
    redis_server.client.config_set("maxmemory", 0)
    assert await store.profiles.absorb([event("e2")], nothing) == 1
    assert await store.profiles.forget("mia") is True


async def test_a_read_only_server_answers_reads_and_refuses_writes_after_a_few_tries(
    store: RedisStore, sleeper: Sleeper, redis_server: RedisServer
) -> None:
    await store.profiles.absorb([event("e1")], nothing)
    redis_server.client.replicaof("127.0.0.1", 1)
    with pytest.raises(Unavailable, match="read-only"):
        await store.profiles.absorb([event("e2")], nothing)
    assert len(sleeper.delays) == ATTEMPTS - 1
    assert await store.profiles.profile("mia") is not None


async def test_a_write_waits_for_a_failover(store: RedisStore, sleeper: Sleeper, redis_server: RedisServer) -> None:
    redis_server.client.replicaof("127.0.0.1", 1)
    sleeper.then = lambda: redis_server.client.replicaof("NO", "ONE")  # type: ignore[assignment,return-value]
    await store.catalog.upsert_items([item("a")])
    assert len(sleeper.delays) == 1
    assert await store.catalog.item("a") == item("a")


async def test_delays_are_bounded_and_not_alike(store: RedisStore, sleeper: Sleeper, redis_server: RedisServer) -> None:
    redis_server.client.replicaof("127.0.0.1", 1)
    for n in range(3):
        with pytest.raises(Unavailable):
            await store.profiles.absorb([event(f"e{n}")], nothing)
    assert len(set(sleeper.delays)) == 3 * (ATTEMPTS - 1)
    assert 0 <= min(sleeper.delays) < max(sleeper.delays) <= WAIT.last_s


async def test_a_server_away_at_start_is_tried_a_few_times_and_named_without_its_password(sleeper: Sleeper) -> None:
    url = f"redis://eye:hunter2@127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable, match=rf"cannot use redis://\*\*\*@127.* after {ATTEMPTS} attempts") as refused:
        await Link.open(url, sleep=sleeper)
    assert "hunter2" not in str(refused.value)
    assert len(sleeper.delays) == ATTEMPTS - 1


async def test_a_server_that_comes_up_late_is_waited_for(sleeper: Sleeper) -> None:
    with contextlib.ExitStack() as stack:
        port = free_port()
        sleeper.then = lambda: stack.enter_context(running(port=port))  # type: ignore[assignment,return-value]
        link = await Link.open(f"redis://127.0.0.1:{port}", sleep=sleeper)
        assert len(sleeper.delays) == 1
        await link.close()


@pytest.mark.parametrize(
    "url", ["http://x:1", "redis:/x", "localhost:6379", "redis://host:port", "redis://h/x?socket_timeout=y"]
)
async def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="store"):
        await Link.open(url)


async def test_a_wrong_password_is_named_at_once(sleeper: Sleeper) -> None:
    with running() as server:
        server.client.config_set("requirepass", "right")
        for url in (server.url, server.url.replace("//", "//:wrong@")):
            with pytest.raises(StoreError, match="password"):
                await Link.open(url, sleep=sleeper)
        assert sleeper.delays == []
        await (await Link.open(server.url.replace("//", "//:right@"))).close()


async def test_what_was_acknowledged_survives_kill_9_with_fsync_always(sleeper: Sleeper) -> None:
    with running("--appendonly", "yes", "--appendfsync", "always") as server:
        link = await Link.open(server.url, sleep=sleeper)
        store = RedisStore(link)
        await asyncio.gather(*[store.profiles.absorb([event(f"e{n}", user=f"u{n % 5}")], nothing) for n in range(50)])
        await store.catalog.upsert_items([item("a")], [cover("c", "a")])
        server.kill()
        with pytest.raises(Unavailable):
            await store.profiles.embedding("u0", MEAN)
        sleeper.then = server.start
        # Sent while the server is away, done when it is back.
        assert await store.profiles.absorb([event("while away", user="u0")], nothing) == 1
        profiles = [await store.profiles.profile(f"u{n}") for n in range(5)]
        assert [p.event_count for p in profiles if p] == [11, 10, 10, 10, 10]
        assert await store.catalog.counts() == (1, 1)
        await link.close()


async def test_the_fast_path_gives_up_early_and_leaves_a_dead_server_alone_for_a_moment() -> None:
    now = [0.0]
    with running() as server:
        healthy = await Link.open(server.url)
        link = Link(healthy._client, clock=lambda: now[0])
        store = RedisStore(link)
        await store.profiles.embedding("mia", MEAN)
        server.client.client_pause(60_000)  # it takes commands and does not answer
        started = time.monotonic()
        with pytest.raises(Unavailable, match="in time"):
            await store.profiles.embedding("mia", MEAN)
        with pytest.raises(Unavailable, match="a moment ago"):
            await store.profiles.embedding("mia", MEAN)
        assert time.monotonic() - started < 1.0, "a tenth of a second, and busy machines"
        server.kill()
        server.start()
        with pytest.raises(Unavailable, match="a moment ago"):
            await store.profiles.embedding("mia", MEAN)
        now[0] += PAUSE_S + 0.01
        assert await store.profiles.embedding("mia", MEAN) is None
        await link.close()


async def test_a_dead_node_takes_only_its_own_users_along_until_its_replica_has_taken_over() -> None:
    with running_cluster(node_timeout_ms=1000) as nodes, running(*nodes[0].options) as replica:
        first = nodes[0].client.execute_command("CLUSTER MYID").decode()
        for node in nodes:
            replica.client.execute_command("CLUSTER MEET", "127.0.0.1", node.port)
        until(lambda: first in str(replica.client.execute_command("CLUSTER NODES")), "the replica's joining")
        replica.client.execute_command("CLUSTER REPLICATE", first)
        until(lambda: replica.client.info("replication")["master_link_status"] == "up", "replication", 30)
        until(lambda: all(_known_as_replica(node, replica.port) for node in nodes), "news of the replica")
        store = await RedisStore.open(nodes[1].url)
        assert isinstance(store.profiles._link._client, RedisCluster)
        users = [f"u{n}" for n in range(30)]
        assert await store.profiles.absorb([event("e1", user=u) for u in users], nothing) == 30
        nodes[0].client.execute_command(
            "WAIT", 1, 5000
        )  # replication is asynchronous: what the replica lacks would be lost
        nodes[0].kill()
        there = [await _there(store, user) for user in users]
        on_that_node = [key_slot(keys.profile(user).encode()) > 5461 for user in users]
        assert sum(there) > 0
        assert not [user for user, up, other in zip(users, there, on_that_node, strict=True) if up and not other]
        end = time.monotonic() + 30
        while True:
            try:
                done = await store.profiles.absorb([event("e2", user=u) for u in users], nothing)
                break
            except Unavailable:
                assert time.monotonic() < end, "no failover"
        profiles = [await store.profiles.profile(user) for user in users]
        assert {p.event_count if p else 0 for p in profiles} == {2}
        assert 0 < done <= 30
        await store.close()


def _known_as_replica(node: RedisServer, port: int) -> bool:
    known = node.client.execute_command("CLUSTER NODES").get(f"127.0.0.1:{port}")
    return bool(known) and "slave" in known["flags"]


async def _there(store: RedisStore, user: str) -> bool:
    with contextlib.suppress(Unavailable):
        await store.profiles.embedding(user, MEAN)
        return True
    return False


def test_errors_name_no_key_and_no_value() -> None:
    from eyecatch.stores.redis.errors import translate
    from redis.exceptions import ResponseError

    for text in (
        "WRONGTYPE Operation against a key",
        "ERR Error running script (call to f_1): @user_script: 7: -OOM x",
    ):
        ours, _ = translate(ResponseError(text))
        assert not re.search("mia|ec:", str(ours))
