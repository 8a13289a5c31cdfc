"""The absorbing loop over hand-written stores: what is acknowledged when, what is tried again, what ends it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from eyecatch.core.behaviour.shown import ShownCovers
from eyecatch.core.errors import EyecatchError, NotReady, StoreDamaged, StoreFull, StoreTooNew, Unavailable
from eyecatch.core.ports import Encoder
from eyecatch.core.types import Event, Position
from eyecatch.ingest.loop import Loop
from eyecatch.ingest.metrics import IngestMetrics
from eyecatch.kafka.buffer import Buffer, Chunk
from eyecatch.kafka.offsets import Log
from eyecatch.kafka.producer import Outgoing
from eyecatch.kafka.retry import DEAD_LETTERS, STORE, Retry
from eyecatch.observe.health import Health
from kafka import TopicPartition

from tests.contracts.builders import event, nothing
from tests.unit.ingest.test_events import Row, protobuf

LOG = Log("id", 1)


@dataclass
class Recorder:
    """Both fakes write what happened into `story`, in order; each raises the next of its errors instead."""

    story: list[object] = field(default_factory=list)
    store_errors: list[EyecatchError] = field(default_factory=list)
    outbox_errors: list[EyecatchError] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)

    async def absorb(self, events: Sequence[Event], encoder: Encoder, positions: Sequence[Position] = ()) -> int:
        if self.store_errors:
            raise self.store_errors.pop(0)
        if self.damaged & {e.user_id for e in events}:
            raise StoreDamaged("a stored profile cannot be read")
        self.story.append(("absorbed", [e.id for e in events], list(positions)))
        return len(events)

    async def items_of(self, cover_ids: Sequence[str]) -> dict[str, str]:
        return {id: "another" for id in cover_ids if id == "foreign"}

    async def send(self, records: Sequence[Outgoing]) -> None:
        if self.outbox_errors:
            raise self.outbox_errors.pop(0)
        self.story.append(("buried", list(records)))

    def done(self, chunks: Sequence[Chunk]) -> None:
        self.story.append(("done", [c.next_offset for c in chunks]))


@dataclass
class Rig:
    recorder: Recorder
    health: Health
    metrics: IngestMetrics
    loop: Loop
    buffer: Buffer


def rig(recorder: Recorder, give_up_s: float = 60.0, batch_max: int = 100) -> Rig:
    buffer, health, metrics = Buffer(100), Health(), IngestMetrics()
    retry = Retry(health, metrics, give_up_s)
    loop = Loop(
        buffer,
        recorder.done,
        recorder,
        nothing,
        ShownCovers(recorder),
        recorder,
        "t",
        batch_max,
        retry,
        metrics,
        time.time,
    )
    return Rig(recorder, health, metrics, loop, buffer)


def chunk(*rows: Row, partition: int = 0) -> Chunk:
    return Chunk(TopicPartition("t", partition), LOG, [*rows])


def row(id: str, user: str = "mia", offset: int = 0, partition: int = 0) -> Row:
    return Row(protobuf(event(id, user)), user.encode(), offset=offset, partition=partition)


async def test_dead_letters_then_profiles_then_done() -> None:
    recorder = Recorder()
    r = rig(recorder)
    bad = Row(b"{", b"k", [("h", b"1")], offset=6)
    r.buffer.put(chunk(row("a", offset=5), bad, row("b", "noah", offset=7)))
    r.buffer.put(chunk(row("c", offset=0, partition=1), partition=1))
    r.buffer.close()
    await r.loop.run()
    (buried, letters), (absorbed, ids, positions), done = recorder.story
    assert (buried, absorbed, done) == ("buried", "absorbed", ("done", [8, 1]))
    assert ids == ["a", "b", "c"]
    name = LOG.name("t")
    assert positions == [Position(name, 0, 5), Position(name, 0, 7), Position(name, 1, 0)]
    (letter,) = letters
    assert (letter.topic, letter.key, letter.value, letter.headers[0]) == ("t.dlq", b"k", b"{", ("h", b"1"))
    assert r.metrics.registry.get_sample_value("eyecatch_ingest_events_total", {"outcome": "new"}) == 3
    assert r.metrics.registry.get_sample_value("eyecatch_ingest_poison_total", {"reason": "not-json"}) == 1


async def test_an_event_about_a_cover_of_another_item_is_a_dead_letter() -> None:
    recorder = Recorder()
    r = rig(recorder)
    foreign = Row(protobuf(event("b", "mia", cover_id="foreign")), b"mia", offset=6)
    r.buffer.put(chunk(row("a", offset=5), foreign, row("c", offset=7)))
    r.buffer.close()
    await r.loop.run()
    (_, (letter,)), (absorbed, ids, positions), done = recorder.story
    assert (absorbed, ids, done) == ("absorbed", ["a", "c"], ("done", [8]))
    assert [position.offset for position in positions] == [5, 7]
    headers = dict(letter.headers)
    assert headers["eyecatch-reason"] == b"cover-of-another-item"
    assert headers["eyecatch-detail"] == b"event.cover_id: got 'foreign'; allowed: a cover of the item 'a', or none"


@pytest.mark.parametrize("error", [StoreFull("no room"), Unavailable("read-only")])
async def test_a_store_in_trouble_is_tried_again_and_said(error: EyecatchError) -> None:
    recorder = Recorder(store_errors=[error, error])
    r = rig(recorder)
    calls: list[str] = []
    told_trouble = r.health.trouble

    def spy(part: str, why: str) -> float:
        lasted = told_trouble(part, why)
        calls.append(r.health.text())
        return lasted

    r.health.trouble = spy  # type: ignore[method-assign]
    r.buffer.put(chunk(row("a")))
    r.buffer.close()
    await r.loop.run()
    assert calls == [f"NOT_SERVING\nstore: {error}"] * 2
    assert r.health.serving
    assert [what[0] for what in recorder.story] == ["absorbed", "done"]  # type: ignore[index]
    assert r.metrics.registry.get_sample_value("eyecatch_ingest_retries_total", {"part": STORE}) == 2


@pytest.mark.parametrize("part", [STORE, DEAD_LETTERS])
async def test_a_trouble_that_lasts_ends_it_and_nothing_is_done(part: str) -> None:
    away: list[EyecatchError] = [StoreFull("no room")] * 100
    recorder = Recorder(store_errors=away) if part == STORE else Recorder(outbox_errors=away)
    r = rig(recorder, give_up_s=0.2)
    r.buffer.put(chunk(row("a"), Row(b"{")))
    with pytest.raises(Unavailable, match=f"{part}: no room; gave up after 0.2 s"):
        await r.loop.run()
    assert ("done", [1]) not in recorder.story
    assert len(away) > 90, "it paused between attempts"


@pytest.mark.parametrize("error", [NotReady("wrong password"), StoreTooNew("newer")])
async def test_what_cannot_pass_ends_it_at_once(error: EyecatchError) -> None:
    r = rig(Recorder(store_errors=[error]))
    r.buffer.put(chunk(row("a")))
    with pytest.raises(type(error)):
        await r.loop.run()
    assert r.recorder.story == []


async def test_one_damaged_profile_does_not_hold_up_the_others() -> None:
    recorder = Recorder(damaged={"u3"})
    r = rig(recorder)
    users = [f"u{n}" for n in range(8)] * 2
    r.buffer.put(chunk(*(row(f"e{n}", user, n) for n, user in enumerate(users))))
    r.buffer.close()
    await r.loop.run()
    absorbed = sorted(id for what in recorder.story if what[0] == "absorbed" for id in what[1])  # type: ignore[index]
    assert absorbed == sorted(f"e{n}" for n, user in enumerate(users) if user != "u3")
    ((_, letters),) = [what for what in recorder.story if what[0] == "buried"]  # type: ignore[index, misc]
    assert [dict(x.headers)["eyecatch-reason"] for x in letters] == [b"damaged-profile"] * 2
    assert recorder.story[-1] == ("done", [16])


async def test_many_dead_letters_are_sent_some_at_a_time_and_not_from_the_beginning_again() -> None:
    recorder = Recorder()
    r = rig(recorder, batch_max=5000)
    r.buffer.put(chunk(*(Row(b"{", offset=n) for n in range(2500))))
    r.buffer.close()
    sent = recorder.send

    async def send(records: Sequence[Outgoing]) -> None:
        if len(recorder.story) == 1 and not recorder.outbox_errors:
            recorder.outbox_errors.append(Unavailable("slow"))
            recorder.story.append("slow")
        await sent(records)

    recorder.send = send  # type: ignore[method-assign]
    await r.loop.run()
    assert [len(what[1]) if isinstance(what, tuple) else what for what in recorder.story] == [
        1000,
        "slow",
        1000,
        500,
        1,
    ]


async def test_cancelled_in_the_middle_nothing_is_done() -> None:
    recorder = Recorder(store_errors=[Unavailable("away")] * 50)
    r = rig(recorder)
    r.buffer.put(chunk(row("a")))
    work = asyncio.ensure_future(r.loop.run())
    while r.health.serving:
        await asyncio.sleep(0)
    work.cancel()
    await asyncio.wait([work])
    assert recorder.story == []
