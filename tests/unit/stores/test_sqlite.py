"""The embedded store's own promises: nothing acknowledged is lost, failures stay apart, old files are upgraded."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.errors import (
    InvalidInput,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreTooNew,
    Unavailable,
)
from eyecatch.core.recommending.decisions import to_line
from eyecatch.core.types import Action, Cover, Decision, Event, Item, Job, Vector
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.stores.sqlite.schema import MIGRATIONS, migrate, version

from tests.contracts.builders import MEAN, Each, nothing


def event(id: str, user: str = "mia") -> Event:
    return Event(id, user, "a", Action.CLICK, 1e9)


_WRITES_FOREVER = """
import asyncio, itertools, sys
from eyecatch.core.recommending.decisions import to_line
from eyecatch.core.behaviour.mean_encoder import MeanEncoder
from eyecatch.core.types import Action, Event, Job
from eyecatch.stores.sqlite import SqliteStore

async def main():
    store = SqliteStore.open(sys.argv[1])
    async def write(n):
        await store.profiles.absorb([Event(f"e{n}", f"u{n % 7}", "a", Action.CLICK, 1e9 + n)], MeanEncoder())
        print(n, flush=True)
    await store.queue.put(Job("j", "k", "a"))
    await store.queue.take()
    for start in itertools.count(0, 5):
        await asyncio.gather(*[write(n) for n in range(start, start + 5)])

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    writer = subprocess.Popen(  # noqa: ASYNC220 (nothing else runs here)
        [sys.executable, "-c", _WRITES_FOREVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    with writer:
        acknowledged = [int(writer.stdout.readline()) for _ in range(200)]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout if line.endswith("\n")]
    store = SqliteStore.open(tmp_path)
    stored = {e.id for _, e in await store.profiles.events(limit=100_000)}
    assert {f"e{n}" for n in acknowledged} <= stored
    profiles = [await store.profiles.profile(f"u{n}") for n in range(7)]
    assert sum(p.event_count for p in profiles if p) == len(stored)
    assert await store.queue.recover() == 1
    store.close()


async def test_a_full_store_refuses_whole_writes_and_goes_on(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path, max_bytes=300_000)
    stored = 0
    with contextlib.suppress(StoreFull):
        while stored < 1000:
            await store.profiles.absorb([event(f"{stored}/{k}", f"u{stored}") for k in range(20)], nothing)
            stored += 1
    assert 0 < stored < 1000
    assert await store.profiles.user_count() == stored
    assert len(await store.profiles.events(limit=100_000)) == 20 * stored
    assert await store.profiles.embedding(f"u{stored}", MEAN) is None
    for n in range(stored // 2):
        assert await store.profiles.forget(f"u{n}")
    assert await store.profiles.absorb([event("after", "new")], nothing) == 1
    store.close()
    store = SqliteStore.open(tmp_path)
    for n in range(100):
        await store.profiles.absorb([event(f"more/{n}/{k}", f"u{stored + n}") for k in range(20)], nothing)
    store.close()


async def test_a_write_that_fills_the_store_does_not_take_its_neighbours_along(tmp_path: Path) -> None:
    """SQLite may undo the whole shared transaction when the disk is full: the others must then be done again."""
    store = SqliteStore.open(tmp_path, max_bytes=400_000)
    huge = Item("huge", "x" * 1_000_000)
    answers = await asyncio.gather(
        *[store.profiles.absorb([event(f"e{n}", f"u{n}")], nothing) for n in range(10)],
        store.catalog.upsert_items([huge]),
        *[store.profiles.absorb([event(f"e{n}", f"u{n}")], nothing) for n in range(10, 20)],
        return_exceptions=True,
    )
    assert [type(a) for a in answers if a != 1] == [StoreFull]
    assert await store.profiles.user_count() == 20
    assert await store.catalog.counts() == (0, 0)
    store.close()


async def test_writes_that_wait_together_fail_one_by_one(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    bad = Cover("c", "a", "blob:x", np.full(64, np.nan, np.float32))
    answers = await asyncio.gather(
        store.catalog.upsert_items([Item("a", "A")]),
        store.catalog.upsert_items([Item("b", "B")], [Cover("c", "a", "blob:x", np.full(64, np.nan, np.float32))]),
        store.catalog.add_covers([bad]),
        store.catalog.upsert_items([Item("d", "D")]),
        return_exceptions=True,
    )
    assert [type(a) for a in answers] == [list, InvalidInput, InvalidInput, list]
    assert [i.id for i in (await store.catalog.items(10)).rows] == ["a", "d"]
    store.close()


async def test_embeddings_read_in_an_undone_write_are_not_remembered(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    one, two = np.eye(64, dtype=np.float32)[:2]
    await store.catalog.upsert_items([Item("a", "A")], [Cover("c", "a", "blob:c", one)])

    def encode_then_fail(events: Sequence[Event]) -> Vector:
        raise RuntimeError("undone")

    await asyncio.gather(
        store.catalog.add_covers([Cover("c", "a", "blob:c", two)]),
        store.profiles.absorb([event("e1")], Each(encode_then_fail)),
        return_exceptions=True,
    )
    await store.profiles.absorb([event("e2")], MEAN)
    np.testing.assert_array_equal(await store.profiles.embedding("mia", MEAN), two)
    store.close()


async def test_a_cancelled_caller_harms_nobody(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    tasks = [asyncio.ensure_future(store.profiles.absorb([event(f"e{n}")], nothing)) for n in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(a == 1 for a in answers[1::2])
    store.close()


def test_a_second_opener_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    with pytest.raises(StoreLocked, match=rf"{tmp_path}.* process {os.getpid()}; stop that process"):
        SqliteStore.open(tmp_path)
    store.close()
    store.close()
    SqliteStore.open(tmp_path).close()


async def test_a_closed_store_answers_unavailable(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    store.close()
    for call in (
        store.profiles.absorb([event("e")], nothing),
        store.profiles.embedding("mia", MEAN),
        store.catalog.counts(),
    ):
        with pytest.raises(Unavailable):
            await call


def test_a_file_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    SqliteStore.open(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "eyecatch.db")) as file:
        file.execute("PRAGMA user_version = 99")
    for _ in range(2):  # the refusal lets go of the folder
        with pytest.raises(StoreTooNew, match=f"version 99.* up to {len(MIGRATIONS)}"):
            SqliteStore.open(tmp_path)


async def test_a_version_1_file_is_brought_forward(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "eyecatch.db")) as file:
        migrate(file, MIGRATIONS[:1])
        assert version(file) == 1
        rows = [("a", "A", "c", '["blob:1","blob:2"]', 1.5), ("b", "B", "", "[]", 2.5)]
        file.executemany("INSERT INTO items (id, title, category, pictures, updated_at) VALUES (?, ?, ?, ?, ?)", rows)
        file.execute("INSERT INTO profiles VALUES ('mia', ?, 3, 1.0)", (b"\0\x3c" + bytes(126),))
        decisions = [
            ("d2", "mia", 1.5, "a\nb", "c1\nc2", struct.pack("<2f", 0.5, 1.0)),
            ("d1", "noah", 2.0, "", "", b""),
        ]
        file.executemany("INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?)", decisions)
        file.commit()
    store = SqliteStore.open(tmp_path)
    assert await store.catalog.item("a") == Item("a", "A", "c", ("blob:1", "blob:2"), 1.5)
    assert await store.catalog.item("b") == Item("b", "B", "", (), 2.5)
    mia = await store.profiles.profile("mia")
    assert mia is not None
    assert (mia.embedding.any(), mia.encoder) == (True, 0)
    assert sorted(await store.catalog.delete_item("a") or ()) == ["blob:1", "blob:2"]
    assert await store.decisions.decision("d2") == Decision("d2", "mia", 1.5, ("a", "b"), ("c1", "c2"), (0.5, 1.0))
    assert await store.decisions.decision("d1") == Decision("d1", "noah", 2.0, (), (), ())
    store.close()


async def test_a_version_3_file_keeps_its_users_events_and_their_order(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "eyecatch.db")) as file:
        migrate(file, MIGRATIONS[:3])
        taste = np.linspace(-0.2, 0.2, 64).astype("<f2")
        file.execute("INSERT INTO profiles VALUES ('mia', ?, 3, 1.25)", (taste.tobytes(),))
        file.execute("INSERT INTO profiles VALUES ('noah', ?, 1, 2.0)", (bytes(128),))
        columns = "event_id, user_id, item_id, action, time, cover_id, decision_id, dwell_ms"
        sql = f"INSERT INTO events ({columns}) VALUES (?, 'mia', 'a', 2, 1e9, '', '', 0)"
        file.executemany(sql, [(f"e{n}",) for n in range(4)])
        file.execute("DELETE FROM events WHERE event_id IN ('e0', 'e3')")
        file.commit()
    store = SqliteStore.open(tmp_path)
    profile = await store.profiles.profile("mia")
    assert profile is not None
    assert (profile.event_count, profile.updated_at, [e.id for e in profile.events]) == (3, 1.25, ["e2", "e1"])
    np.testing.assert_allclose(profile.embedding, taste.astype(np.float32), atol=1e-3)
    assert await store.profiles.embedding("noah", MEAN) is None
    assert await store.profiles.absorb([event("e1"), event("e1", "noah"), event("e9")], nothing) == 2
    assert [number for number, _ in await store.profiles.events()] == [2, 3, 5, 6], "no number is given twice"
    store.close()


async def test_a_version_11_file_keeps_its_forgotten_users(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "eyecatch.db")) as file:
        migrate(file, MIGRATIONS[:11])
        file.executemany("INSERT INTO tombstones VALUES (?)", [(sha256(user).digest(),) for user in (b"mia", b"noah")])
        file.commit()
    store = SqliteStore.open(tmp_path)
    events = [event("e1", "mia"), event("e2", "noah"), event("e3", "omar")]
    assert await store.profiles.absorb(events, nothing) == 1
    store.close()


async def test_a_tombstone_tells_who_was_forgotten_to_its_own_store_alone(tmp_path: Path) -> None:
    tombstones = set()
    for folder in (tmp_path / "one", tmp_path / "other"):
        store = SqliteStore.open(folder)
        await store.profiles.forget("mia")
        store.close()
        with contextlib.closing(sqlite3.connect(folder / "eyecatch.db")) as file:
            tombstones |= {row[0] for row in file.execute("SELECT user_digest FROM tombstones")}
    assert len(tombstones) == 2
    assert sha256(b"mia").digest() not in tombstones


@pytest.mark.parametrize("damage", ["x'0102'", "substr(profile, 1, 100)", "CAST(x'ff' || substr(profile, 2) AS BLOB)"])
async def test_a_damaged_profile_ends_no_walk_over_all(tmp_path: Path, damage: str) -> None:
    store = SqliteStore.open(tmp_path)
    await store.profiles.absorb([event("e1"), event("e1", "noah")], nothing)
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "eyecatch.db")) as file:
        file.execute(f"UPDATE profiles SET profile = {damage} WHERE user_id = 'mia'")
        file.commit()
    store = SqliteStore.open(tmp_path)
    assert "noah" in [key async for heads in store.profiles.scan() for key in heads.keys]
    assert await store.profiles.reencode(["mia", "noah"], MEAN) == 1
    store.close()


async def test_a_damaged_profile_is_a_named_error(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    await store.profiles.absorb([event("e1")], nothing)
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "eyecatch.db")) as file:
        file.execute("UPDATE profiles SET profile = x'0102'")
        file.commit()
    store = SqliteStore.open(tmp_path)
    for call in (
        store.profiles.embedding("mia", MEAN),
        store.profiles.profile("mia"),
        store.profiles.absorb([event("e2")], nothing),
    ):
        with pytest.raises(StoreDamaged, match="cannot be read"):
            await call
    assert await store.profiles.forget("mia") is True, "which is the way out"
    store.close()


async def test_forgetting_leaves_the_other_decisions_of_a_segment(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    users = {"d1": "mia", "d2": "noah", "d3": "mia", "d0": "mia2"}
    await store.decisions.append([to_line(Decision(id, user, 1.0, (), (), ())) for id, user in users.items()])
    assert await store.profiles.forget("mia")
    saved = [id for id in users if await store.decisions.decision(id)]
    assert saved == ["d2", "d0"]
    assert not await store.profiles.forget("mia")
    store.close()


def test_a_migration_that_fails_leaves_the_old_version(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as file:
        migrate(file, MIGRATIONS[:1])
        with pytest.raises(StoreError):
            migrate(file, (MIGRATIONS[0], "CREATE TABLE half (x); INSERT INTO absent VALUES (1);"))
        assert version(file) == 1
        assert file.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
        migrate(file)
        assert version(file) == len(MIGRATIONS)


def test_a_damaged_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "eyecatch.db").write_bytes(b"this is not a database" * 1000)
    with pytest.raises(StoreError, match="damaged"):
        SqliteStore.open(tmp_path)


async def test_damaged_pages_are_noticed_at_the_start(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    await store.catalog.upsert_items([Item(f"i{n}", "A title " * 20) for n in range(2000)], [])
    store.close()
    file = tmp_path / "eyecatch.db"
    data = bytearray(file.read_bytes())
    data[100_000:103_000] = np.random.default_rng(0).bytes(3000)
    file.write_bytes(data)
    with pytest.raises(StoreError, match=r"eyecatch.db is damaged \(.*\); restore a backup"):
        SqliteStore.open(tmp_path)


def test_a_version_that_was_set_back_is_named(tmp_path: Path) -> None:
    SqliteStore.open(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "eyecatch.db")) as file:
        file.execute("PRAGMA user_version = 3")
    with pytest.raises(StoreError, match=r"its version is 3, but its tables are not those of that version"):
        SqliteStore.open(tmp_path)


def test_a_folder_that_cannot_be_used_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="data folder"):
        SqliteStore.open(tmp_path / "file")


async def test_a_profile_is_small(tmp_path: Path) -> None:
    """The profile row of a user of 64 dimensions: at most 1 KiB (events are the log, not the profile)."""
    store = SqliteStore.open(tmp_path)
    for start in range(0, 4000, 1000):
        await store.profiles.absorb([event(f"e{n}", f"user-{n:06}") for n in range(start, start + 1000)], nothing)
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "eyecatch.db")) as file:
        sizes = dict(file.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall())
    assert sizes["profiles"] / 4000 <= 1024


async def test_finished_jobs_are_forgotten_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyecatch.stores.sqlite.queue.KEEP_FINISHED", 3)
    store = SqliteStore.open(tmp_path)
    for n in range(6):
        await store.queue.put(Job(f"j{n}", f"k{n}", "a"))
        await store.queue.take()
        await store.queue.finish(f"j{n}", [])
    assert [n for n in range(6) if await store.queue.status(f"j{n}")] == [3, 4, 5]
    store.close()
