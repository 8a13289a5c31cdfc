"""Hostile records through a real broker and the whole of ingest: each ends in a profile or in the dead letters, and nothing stops."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from eyecatch.core.types import Action, Event
from eyecatch.messages import event_to_wire
from eyecatch.v1 import types_pb2
from eyecatch.wiring.ingest import ingesting
from google.protobuf.json_format import MessageToJson, ParseDict, ParseError, SerializeToJsonError
from google.protobuf.message import DecodeError

from tests.broker import Broker, Message
from tests.unit.ingest.helpers import count, settings, value
from tests.waiting import until

IDS = [
    "a",
    "mía",
    "x" * 128,
    "x" * 129,
    "",
    " ",
    "\n",
    "\x1f",
    "\U0001f600",
    "~0123456789abcdef",
    "' OR 1=1 --",
    "null",
    "0",
]
ODD = [
    None,
    True,
    -1,
    2**64,
    1e308,
    "",
    "\ud800",
    [],
    {},
    "1969-12-31T23:59:59Z",
    "9999-12-31T23:59:59Z",
    "NaN",
    "ACTION_LIKE",
]
HEADERS: list[tuple[str, bytes | None]] = [
    ("content-type", b"application/json"),
    ("content-type", b"application/x-protobuf"),
    ("content-type", None),
    ("content-type", b"\xff"),
    ("", b""),
    ("eyecatch-reason", b"forged"),
    ("eyecatch-source", b"{"),
]


def hostile(rng: random.Random) -> Message:
    """A record that is an event, or was one, or never was."""
    names = [f"u{rng.randrange(50)}", *IDS]
    event = Event(
        f"e{rng.getrandbits(64):x}",
        names[0],
        "i",
        rng.choice(list(Action)),
        rng.uniform(0, 2e9),
        "c",
        "d",
        rng.randrange(2**16),
    )
    wire = event_to_wire(event)
    for field in rng.sample(["id", "user_id", "item_id", "cover_id", "decision_id"], rng.choice([0, 0, 0, 0, 1, 2])):
        setattr(wire, field, rng.choice(names))
    key: bytes | None = wire.user_id.encode()
    match rng.randrange(16):
        case 0:
            wire.action = rng.choice([0, 7, -1, 2**31 - 1])  # type: ignore[assignment]
        case 1:
            wire.time.seconds, wire.time.nanos = rng.choice([0, -1, 2**40, -(2**62)]), rng.choice([0, -1, 2**31 - 1])
        case 2:
            wire.dwell_ms = rng.choice([0, 2**32 - 1])
        case 3:
            key = rng.choice([None, b"", b"\xff", b"noah"])
        case _:
            pass
    return key, _mutated(_serialised(wire, rng), rng), _headers(rng)


def _serialised(wire: types_pb2.Event, rng: random.Random) -> bytes | None:
    kind = rng.randrange(10)
    if kind < 5:
        return wire.SerializeToString()
    if kind == 9:
        return rng.choice([None, b"", rng.randbytes(rng.randrange(300)), rng.randbytes(20_000), b"{" * 9000])
    with suppress(SerializeToJsonError):  # of a time that has no JSON form
        plain = json.loads(MessageToJson(wire))
        for name in rng.sample(list(plain), rng.choice([0, 0, min(1, len(plain))])):
            plain[name] = rng.choice(ODD)
        return json.dumps(plain).encode()
    return b"{}"


def _mutated(value: bytes | None, rng: random.Random) -> bytes | None:
    if not value or rng.random() < 0.7:
        return value
    changed = bytearray(value)
    place = rng.randrange(len(changed))
    match rng.randrange(5):
        case 0:
            changed[place] ^= 1 << rng.randrange(8)
        case 1:
            del changed[place:]
        case 2:
            del changed[place]
        case 3:
            changed[place:place] = rng.randbytes(rng.randint(1, 8))
        case 4:
            changed += changed[place:]
    return bytes(changed)


def _headers(rng: random.Random) -> list[tuple[str, bytes | None]]:
    return rng.sample(HEADERS, rng.randint(1, 3)) if rng.random() < 0.2 else []


def named(value: bytes | None) -> set[tuple[str, str]]:
    """(user id, event id) of whatever reading of the bytes there is."""
    match = set()
    message = types_pb2.Event()
    with suppress(DecodeError):
        message.ParseFromString(value or b"")
        match.add((message.user_id, message.id))
    message = types_pb2.Event()
    with suppress(ValueError, ParseError, RecursionError, SystemError):
        ParseDict(json.loads(value or b""), message, ignore_unknown_fields=True)
        match.add((message.user_id, message.id))
    return match


async def fuzz(kafka: Broker, folder: Path, records: int, seed: int) -> dict[str, int]:
    """Counts by what became of the records."""
    rng = random.Random(seed)
    topic = kafka.create()
    sent: list[Message] = [hostile(rng) for _ in range(records)]
    await asyncio.to_thread(kafka.produce, topic, sent)
    async with ingesting(settings(kafka, topic, folder)) as running:

        def outcomes() -> dict[str, int]:
            text = {o: value(running, "events_total", outcome=o) for o in ("new", "known")}
            reasons = running.metrics.poison.collect()[0].samples
            return text | {s.labels["reason"]: int(s.value) for s in reasons if s.name.endswith("_total")}

        def settled() -> bool:
            if running.work.done():
                running.work.result()
            return sum(outcomes().values()) >= records

        await until(settled, "the end of the topic", 30 + records / 100)
        assert running.health.serving
        stored = await _stored(running.profiles)
        counted = await count(running, *{user for user, _ in stored})
    log = await asyncio.to_thread(kafka.records, topic)
    letters = await asyncio.to_thread(kafka.records, f"{topic}.dlq")
    assert len(log) == records
    assert counted == len(stored) == outcomes()["new"], "each event counts once"
    where = {_source(x.headers): x for x in letters}
    assert len(where) == records - outcomes()["new"] - outcomes()["known"], "a letter for each of the others"
    for r in log:
        letter = where.get((r.partition, r.offset))
        if letter is None:
            assert named(r.value) & stored, (r.key, r.value, r.headers)
        else:
            # of what the client may not send, nulls in headers and in records without a key, the letter has empty bytes
            value_ = b"" if r.key is None and r.value is None else r.value
            headers = [(name, content or b"") for name, content in r.headers]
            assert (letter.key, letter.value, letter.headers[:-3]) == (r.key, value_, headers), "kept whole"
    assert sum(kafka.committed(topic, topic).values()) == records
    return outcomes()


async def _stored(profiles) -> set[tuple[str, str]]:  # type: ignore[no-untyped-def]
    """(user id, event id) of all events that profiles know."""
    match: set[tuple[str, str]] = set()
    after = 0
    while rows := await profiles.events(after):
        match |= {(event.user_id, event.id) for _, event in rows}
        after = rows[-1][0]
    return match


def _source(headers: Sequence[tuple[str, bytes]]) -> tuple[int, int]:
    """Of our header, which is the last of that name: a record may bring its own."""
    source = json.loads(headers[-1][1])
    return source["partition"], source["offset"]


async def test_whatever_comes_is_absorbed_or_kept(kafka: Broker, tmp_path: Path) -> None:
    outcomes = await fuzz(kafka, tmp_path, 3000, seed=1)
    assert outcomes["new"] > 500
    assert Counter(outcomes).total() == 3000
    assert len(outcomes) > 10, "most reasons were met"


@pytest.mark.slow
async def test_a_hundred_thousand_hostile_records(kafka: Broker, tmp_path: Path) -> None:
    print(json.dumps(await fuzz(kafka, tmp_path, 100_000, seed=2)))
