"""Recall on behaviour made for the purpose: users with a taste are found out, users without one are not."""

import base64
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.behaviour.tokens import user_tag
from eyecatch.core.errors import InvalidInput
from eyecatch.core.ports import ProfileStore
from eyecatch.core.types import Action, Cover, Event, Item, Origin, Provenance, Vector
from eyecatch.evaluate import report
from eyecatch.evaluate.behaviour import read
from eyecatch.evaluate.recall import Outcome, recall
from eyecatch.evaluate.report import page
from eyecatch.evaluate.results import Recall
from eyecatch.evaluate.settings import RecallSettings
from eyecatch.shards import Shard, Work
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.sqlite import SqliteStore
from PIL import Image

from tests.contracts.builders import MEAN

TASTES, ITEMS, USERS, EVENTS = 4, 200, 40, 30


def near(taste: int, rng: np.random.Generator) -> Vector:
    vector = 0.08 * rng.standard_normal(64).astype(np.float32)
    vector[taste] += 1.0
    return vector / np.float32(np.linalg.norm(vector))


async def world(folder: Path, loyal: bool) -> SqliteStore:
    """Item n has covers of taste n % TASTES; user n engages with items of that taste, or with any if not `loyal`."""
    rng = np.random.default_rng(5)
    store = SqliteStore.open(folder)
    items = [Item(f"i{n:03}", f"Item {n}") for n in range(ITEMS)]
    covers = [
        Cover(f"c{n:03}-{k}", f"i{n:03}", f"blob:{n}-{k}", near(n % TASTES, rng))
        for n in range(ITEMS)
        for k in range(2)
    ]
    await store.catalog.upsert_items(items, covers)
    events = []
    for user in range(USERS):
        pool = np.arange(user % TASTES, ITEMS, TASTES) if loyal else np.arange(ITEMS)
        for n, item in enumerate(rng.permutation(pool)[:EVENTS]):
            shown = f"c{item:03}-1" if n % 2 else ""
            events.append(Event(f"{user}/{n}", f"u{user}", f"i{item:03}", Action.CLICK, 1e9 + n, shown))
    await store.profiles.absorb(events, MEAN)
    return store


async def run(store: SqliteStore, settings: RecallSettings | None = None, out: Path | None = None) -> Outcome:
    return await recall(store.catalog, store.profiles, settings, out=out)


def at(result: Recall, name: str, figure: str = "recall@20") -> tuple[float, float, float]:
    one = result.rankings[name].figures[figure]
    return one.mean, one.low, one.high


async def test_users_with_a_taste_are_found_out(tmp_path: Path) -> None:
    store = await world(tmp_path, loyal=True)
    result = (await run(store, RecallSettings(ks=(5, 20), seed=1))).result
    assert (result.users, result.items, result.held_out) == (USERS, ITEMS, 5 * USERS)
    # 50 items of one's taste less 25 known: the first 20 others hold four fifths of the hidden.
    mean, low, _ = at(result, "profile")
    assert mean > 0.7
    assert low > at(result, "shuffled")[2]
    assert low > at(result, "random")[2]
    assert result.ahead["shuffled"]["recall@20"].low > 0
    assert at(result, "profile", "recall@5") < at(result, "profile")
    for row in result.rankings.values():
        assert all(i.low <= i.mean <= i.high for i in row.figures.values())
    # 175 items unknown: 20 of them at random.
    assert at(result, "random")[0] == pytest.approx(20 / 175, abs=0.07)
    store.close()


async def test_users_without_one_are_not(tmp_path: Path) -> None:
    store = await world(tmp_path, loyal=False)
    result = (await run(store, RecallSettings(ks=(20,), seed=1))).result
    difference = result.ahead["shuffled"]["recall@20"]
    assert difference.low <= 0 <= difference.high
    assert at(result, "profile")[0] < 0.25
    store.close()


async def test_the_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    store = await world(tmp_path, loyal=True)
    one, two = [json.dumps((await run(store, RecallSettings(seed=3))).result.as_dict()) for _ in range(2)]
    assert one == two
    store.close()


async def test_hidden_items_teach_nothing(tmp_path: Path) -> None:
    """An early glance at an item that is hidden later must not stand in the past, nor count as popularity."""
    store = await world(tmp_path, loyal=True)
    before = (await run(store, RecallSettings(ks=(20,)))).result
    last = [e for _, e in await store.profiles.events(limit=10_000) if e.id.endswith(f"/{EVENTS - 1}")]
    early = [Event(f"early/{e.id}", e.user_id, e.item_id, Action.CLICK, 1e9 - 5) for e in last]
    await store.profiles.absorb(early, MEAN)
    after = (await run(store, RecallSettings(ks=(20,)))).result
    assert after.rankings["profile"].figures == before.rankings["profile"].figures
    assert after.rankings["popularity"].figures == before.rankings["popularity"].figures
    store.close()


async def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    with pytest.raises(InvalidInput, match="items"):
        await run(store)
    await store.catalog.upsert_items([Item("i", "Item")])
    with pytest.raises(InvalidInput, match="at least 2"):
        await run(store)
    for wrong in ({"leave_out": 10}, {"split": "first"}, {"share": 1.0}, {"trials": 0}):
        with pytest.raises(InvalidInput, match=next(iter(wrong)).replace("share", "time_share")):
            RecallSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="target"):
        await run(store, RecallSettings(target="seen"))
    store.close()


async def test_what_cannot_be_used_is_counted_by_its_reason(tmp_path: Path) -> None:
    store = await world(tmp_path, loyal=True)
    await store.catalog.upsert_items([Item("bare", "")])
    odd = [
        Event("x1", "lost", "nowhere", Action.CLICK, 5.0),
        Event("x2", "once", "i001", Action.CLICK, 5.0),
        Event("x3", "passer-by", "i001", Action.IMPRESSION, 5.0),
        Event("x4", "passer-by", "i002", Action.IMPRESSION, 5.0),
        Event("x5", "passer-by", "i002", Action.IMPRESSION, 5.0),
    ]
    await store.profiles.absorb(odd, MEAN)
    assert (await run(store)).result.counts == {
        "items without a picture": 1,
        "items without a title": 1,
        "events of unknown items": 1,
        "events told twice": 1,
        "users without an event of a known item": 1,
        "users with one event": 1,
        "users who engaged with nothing": 1,
        "events at the time of the user's event before": 1,
    }
    store.close()


async def test_a_catalogue_without_pictures_has_figures_that_need_none(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    await store.catalog.upsert_items([Item(f"i{n}", f"Item {n}") for n in range(30)])
    events = [
        Event(f"{u}/{n}", f"u{u}", f"i{(u + n) % 30}", Action.CLICK, float(n)) for u in range(5) for n in range(12)
    ]
    await store.profiles.absorb(events, MEAN)
    result = (await run(store)).result
    assert result.counts["items without a picture"] == 30
    assert at(result, "popularity")[0] > 0
    assert at(result, "profile")[0] == 0
    store.close()


async def test_a_split_in_time_has_users_without_a_history(tmp_path: Path) -> None:
    store = await world(tmp_path, loyal=True)
    late = [Event(f"late/{n}", "new", f"i{n:03}", Action.CLICK, 2e9 + n) for n in range(3)]
    await store.profiles.absorb(late, MEAN)
    result = (await run(store, RecallSettings(split="time", share=0.9))).result
    assert "no history" in result.rankings["profile"].by_history
    store.close()


async def test_covers_made_for_users_are_ranked_with_controls(tmp_path: Path) -> None:
    """The items' own covers say nothing; those made for a user are of the user's taste where the item is."""
    rng = np.random.default_rng(7)
    store = await world(tmp_path, loyal=True)
    covers = []
    for item in range(ITEMS):
        plain = Provenance(Origin.GENERATED, made_for="")
        covers.append(Cover(f"n{item}", f"i{item:03}", f"blob:n{item}", near(40 + item % 7, rng), provenance=plain))
    for user in range(8):
        own = Provenance(Origin.GENERATED, made_for=user_tag(f"u{user}"))
        covers += [
            Cover(f"m{user}-{item}", f"i{item:03}", f"blob:m{user}-{item}", near(user % TASTES, rng), provenance=own)
            for item in range(user % TASTES, ITEMS, TASTES)
        ]
    await store.catalog.add_covers(covers)
    result = (await run(store)).result
    assert at(result, "made for the user")[0] > at(result, "made for nobody")[0] + 0.05
    assert "made for another" in result.rankings
    store.close()


async def test_a_job_that_was_killed_goes_on_to_the_same_figures(tmp_path: Path) -> None:
    store = await world(tmp_path / "data", loyal=True)
    whole = (await run(store, out=tmp_path / "whole")).result
    await run(store, out=tmp_path / "killed")
    shards = sorted(path for path in (tmp_path / "killed" / "shards").rglob("*") if path.is_file())
    shards[0].unlink()
    shards[1].rename(shards[1].with_suffix(".7.tmp"))
    again = (await run(store, out=tmp_path / "killed")).result
    assert again.as_dict() == whole.as_dict()
    with pytest.raises(InvalidInput, match="other data or settings"):
        await run(store, RecallSettings(leave_out=4), out=tmp_path / "killed")
    store.close()


async def test_the_report_shows_figures_and_no_user_ids(tmp_path: Path) -> None:
    store = await world(tmp_path / "data", loyal=True)
    outcome = await run(store, RecallSettings(ks=(20,)))
    html = await page(outcome, FsspecBlobs(str(tmp_path / "blobs")))
    assert html.count("<h3>User ") == 6
    assert "profile minus each other" in html
    assert "cannot be told apart" in html or "ahead" in html
    assert all(f">{user}<" not in html for user in ("u0", "u1", "u39"))
    store.close()


async def test_a_picture_is_inside_the_report_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    blobs = FsspecBlobs(str(tmp_path / "blobs"))
    data = io.BytesIO()
    Image.new("RGB", (300, 500), "teal").save(data, "PNG")
    shown = await report.picture(blobs, await blobs.put(data.getvalue(), "png"))
    assert shown.startswith("data:image/webp;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(shown.split(",")[1]))).size == (58, 96)
    assert await report.picture(blobs, await blobs.put(b"no picture", "png")) == ""
    assert await report.picture(blobs, "blob:" + 64 * "0" + ".png") == ""


@pytest.mark.long
async def test_peers_and_the_encoder_are_tuned_alike_and_resume(tmp_path: Path) -> None:
    store = await world(tmp_path / "data", loyal=True)
    settings = RecallSettings(ks=(20,), peers=True, trials=2, seeds=2, steps=6)
    outcome = await run(store, settings, out=tmp_path / "run")
    result = outcome.result
    learned = ("item-kNN", "EASE", "iALS", "BPR", "SASRec", "encoder", "memory", "encoder + memory")
    assert [result.rankings[name].tried for name in learned] == [2] * len(learned)
    assert at(result, "EASE")[0] > at(result, "popularity")[0]
    summary = result.summary()
    assert list(summary) == [
        "recall20",
        "ndcg20",
        "recall20_best_peer",
        "ndcg20_best_peer",
        "best_peer",
        "recall20_shuffled",
        "cold_items_over_random",
    ]
    assert summary["recall20_best_peer"] == max(
        round(at(result, name)[0], 4) for name in ("popularity", "item-kNN", "EASE", "iALS", "BPR", "SASRec")
    )
    files = [path for path in sorted((tmp_path / "run" / "shards").rglob("*")) if path.is_file()]
    for path in [path for path in files if path.read_bytes()[:2] == b"PK"][::3]:  # ranks; trials have their seconds
        path.unlink()
    again = (await run(store, settings, out=tmp_path / "run")).result
    assert again.as_dict() == result.as_dict()
    store.close()


async def test_events_keep_the_order_of_the_table(tmp_path: Path) -> None:
    store = await world(tmp_path, loyal=True)
    behaviour = await read(store.catalog, store.profiles)
    stored = [event for _, event in await store.profiles.events(limit=10_000)]
    stored.sort(key=lambda event: (event.user_id, event.time))
    table = behaviour.table
    assert [behaviour.users[n] for n in table.user] == [event.user_id for event in stored]
    assert [behaviour.items[n].id for n in table.item] == [event.item_id for event in stored]
    shown = [behaviour.covers.ids[n] if n >= 0 else "" for n in behaviour.shown]
    assert shown == [event.cover_id for event in stored]
    store.close()


class Stop(Exception):
    pass


def stopping_after(count: int) -> Callable[[Work, Iterable[Shard]], Iterator[tuple[str, bytes]]]:
    """A runner that dies in the shard after `count` others."""
    left = iter(range(count))

    def runner(work: Work, shards: Iterable[Shard]) -> Iterator[tuple[str, bytes]]:
        for shard in shards:
            if next(left, None) is None:
                raise Stop
            yield shard.key, work(shard.payload)

    return runner


async def test_a_job_killed_at_any_shard_goes_on_to_the_same_figures(tmp_path: Path) -> None:
    store = await world(tmp_path / "data", loyal=True)
    whole = (await run(store)).result.as_dict()
    kills = 0
    for count in range(1, 100):
        try:
            result = await recall(
                store.catalog, store.profiles, out=tmp_path / f"{count}", runner=stopping_after(count)
            )
            break
        except Stop:
            kills += 1
            result = await recall(store.catalog, store.profiles, out=tmp_path / f"{count}")
        assert result.result.as_dict() == whole
    assert kills >= 4  # embeddings and each ranking
    assert result.result.as_dict() == whole
    store.close()


async def test_users_whose_hidden_items_say_nothing_are_counted(tmp_path: Path) -> None:
    """One user ends with items that nobody else engaged with, one with items that the catalogue does not have."""
    store = await world(tmp_path, loyal=True)
    await store.catalog.upsert_items([Item(f"new{n}", "New") for n in range(5)])
    early = [Event(f"e{u}/{n}", u, f"i{n:03}", Action.CLICK, 1e9 + n) for u in ("first", "lost") for n in range(10)]
    late = [Event(f"l{n}", "first", f"new{n}", Action.CLICK, 2e9 + n) for n in range(5)]
    late += [Event(f"m{n}", "lost", f"nowhere{n}", Action.CLICK, 2e9 + n) for n in range(5)]
    await store.profiles.absorb([*early, *late], MEAN)
    counts = (await run(store)).result.counts
    assert counts["users whose hidden items nobody is known to have engaged with"] == 1
    assert counts["users whose latest engagements are all with unknown items"] == 1
    assert counts["events of unknown items"] == 5
    store.close()


class ShortLog:
    """The part of a ProfileStore that the job reads, of a store that keeps the latest events only."""

    def __init__(self, profiles: ProfileStore, first: int) -> None:
        self._profiles, self._first = profiles, first
        self.user_count = profiles.user_count

    async def events(self, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, Event]]:
        return await self._profiles.events(max(after, self._first), limit)


async def test_users_whose_events_left_the_log_are_counted(tmp_path: Path) -> None:
    store = await world(tmp_path, loyal=True)
    short = ShortLog(store.profiles, 3 * EVENTS)
    outcome = await recall(store.catalog, short)  # type: ignore[arg-type]
    assert outcome.result.counts == {"users with a profile and no event in the log": 3}
    store.close()


async def test_equal_times_and_doubles_change_no_figure(tmp_path: Path) -> None:
    """The order of events of one time is that of the table, and an event that comes twice counts once."""
    store = await world(tmp_path / "one", loyal=True)
    events = [event for _, event in await store.profiles.events(limit=10_000)]
    other = SqliteStore.open(tmp_path / "two")
    await other.catalog.upsert_items(
        (await store.catalog.items(1000)).rows, [c async for c in store.catalog.all_covers()]
    )
    rank = {event.id: float(n) for n, event in enumerate(sorted(events, key=lambda e: e.time))}
    tied = [event._replace(time=1e9 + rank[event.id] // 80) for event in events]
    doubles = [event._replace(id=f"again/{event.id}") for event in tied]
    await other.profiles.absorb([*tied, *doubles], MEAN)
    result = (await run(other)).result
    assert result.counts["events told twice"] == len(events)
    assert result.counts["events at the time of the user's event before"] > 0
    assert result.rankings["profile"].figures == (await run(store)).result.rankings["profile"].figures
    store.close()
    other.close()
