"""Jobs that the version before stored, byte for byte: its knobs were fields of the job."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eyecatch.core.drawing import Drawing
from eyecatch.core.errors import Overloaded
from eyecatch.core.failures import Failure
from eyecatch.core.ports import JobQueue
from eyecatch.core.types import Item, Job, JobState
from eyecatch.generate.hub import Hub
from eyecatch.generate.making import Maker
from eyecatch.generate.worker import Worker
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.redis import RedisStore, keys
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.stores.sqlite.schema import MIGRATIONS, migrate

from tests.fakes import FakeGenerator
from tests.servers import RedisServer
from tests.waiting import until

WHOLE = (
    '{"id":"0123456789abcdef0123456789abcdef","key":"call/spring","item_id":"a","user_embedding":[0.125,0.125],"taste":3,'
    '"count":4,"seed":7,"steps":8,"strength":0.5,"reference_strength":0.25,"created_at":1700000000.5,'
    '"made_for":"dXNlcl90YWdfb2ZfbWlh","inpaint":false,"product_id":"blue-mug","target_kpi":"high"}'
)
PLAIN = (
    '{"id":"j2","key":"j2","item_id":"b","user_embedding":[],"taste":-1,"count":1,"seed":9,"steps":0,"strength":1.0,'
    '"reference_strength":null,"created_at":0.0,"made_for":"","inpaint":false,"product_id":"","target_kpi":""}'
)
SCENE = (
    '{"id":"j3","key":"call/k3","item_id":"c","user_embedding":[],"taste":-1,"count":1,"seed":5,"steps":0,"strength":1.0,'
    '"reference_strength":null,"created_at":0.0,"made_for":"","inpaint":true,"product_id":"","target_kpi":""}'
)
JOBS = [
    Job(
        "0123456789abcdef0123456789abcdef",
        "call/spring",
        "a",
        (0.125, 0.125),
        3,
        4,
        7,
        Drawing(8, 0.5, 0.25, product_id="blue-mug", target_kpi="high"),
        1700000000.5,
        attempts=1,
        made_for="dXNlcl90YWdfb2ZfbWlh",
    ),
    Job("j2", "j2", "b", seed=9, attempts=1),
    Job("j3", "call/k3", "c", seed=5, drawing=Drawing(inpaint=True), attempts=1),
]


def keep_in_sqlite(folder: Path) -> None:
    connection = sqlite3.connect(folder / "eyecatch.db", isolation_level=None)
    migrate(connection, MIGRATIONS[:7])
    columns = "id, key, state, job, attempts, cover_ids, error"
    for text in (WHOLE, PLAIN, SCENE):
        job = json.loads(text)
        row = (job["id"], job["key"], int(JobState.QUEUED), text, 0, "[]", "")
        connection.execute(f"INSERT INTO jobs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    failed = ("f", "call/f", int(JobState.FAILED), PLAIN.replace('"j2"', '"f"'), 1, "[]", "over budget: 3 covers")
    connection.execute(f"INSERT INTO jobs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", failed)
    connection.close()


def keep_in_redis(client: Any) -> None:
    client.flushall()
    for number, text in enumerate((WHOLE, PLAIN, SCENE), 1):
        job = json.loads(text)
        client.hset(keys.JOBS, job["id"], f'[{number},{text},0,1,[],"","",""]')
        client.hset(keys.JOB_KEYS, job["key"], job["id"])
        client.zadd(keys.QUEUED, {job["id"]: number})
    text = PLAIN.replace('"j2"', '"f"')
    client.hset(keys.JOBS, "f", f'[4,{text},1,4,[],"over budget: 3 covers","",""]')
    client.zadd(keys.OVER, {"f": 4})
    client.set(keys.JOB_SEQUENCE, 4)


@pytest.fixture(params=["sqlite", "redis"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer
) -> AsyncIterator[SqliteStore | RedisStore]:
    if request.param == "sqlite":
        keep_in_sqlite(tmp_path)
        embedded = SqliteStore.open(tmp_path)
        yield embedded
        embedded.close()
    else:
        keep_in_redis(redis_server.client)
        shared = await RedisStore.open(redis_server.url)
        yield shared
        await shared.close()


async def test_they_are_read(store: SqliteStore | RedisStore) -> None:
    queue: JobQueue = store.queue
    assert [await queue.take() for _ in range(4)] == [*JOBS, None]


async def test_their_failures_mean_what_they_meant(store: SqliteStore | RedisStore) -> None:
    status = await store.queue.status("f")
    assert status is not None
    assert (status.state, status.failure) == (JobState.FAILED, Failure("over budget: 3 covers"))
    assert isinstance(status.failure.error(), Overloaded)


async def test_they_are_drawn(store: SqliteStore | RedisStore, tmp_path: Path) -> None:
    await store.catalog.upsert_items([Item("b", "B"), Item("c", "C")])
    await store.queue.cancel(JOBS[0].id, Failure("its embedding has two numbers"))
    generator = FakeGenerator()
    maker = Maker(store.catalog, FsspecBlobs(str(tmp_path / "blobs")), generator, lambda item_id, new, gone: None)
    worker = Worker(store.queue, maker, Hub(), 2)

    async def done() -> bool:
        result = [await store.queue.status(id) for id in ("j2", "j3")]
        return [status and status.state for status in result] == [JobState.DONE] * 2

    serving = asyncio.ensure_future(worker.run())
    await until(done, "both covers")
    await worker.drain(0.0)
    await serving
    image = {(brief.title, brief.seed, brief.drawing) for brief in generator.briefs}
    assert image == {("B", 9, Drawing()), ("C", 5, Drawing(inpaint=True))}
