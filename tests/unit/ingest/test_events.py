"""Bytes -> event or named reason."""

import json
import time
from dataclasses import dataclass

import pytest
from eyecatch.core import limits
from eyecatch.core.types import Action, Event
from eyecatch.ingest.events import Reason, decode, decode_all
from eyecatch.kafka.records import MAX_BYTES, Headers, Poison, Unreadable
from eyecatch.messages import event_to_wire
from eyecatch.v1 import types_pb2
from google.protobuf.json_format import MessageToJson
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.builders import event

NOW = float(int(time.time()))
WHOLE = Event("e1", "mía", "a", Action.DWELL, 1e9 + 0.25, "c", "d", 1234)


@dataclass(frozen=True)
class Row:
    value: bytes | None
    key: bytes | None = b"mia"
    headers: Headers = ()
    topic: str = "t"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0


def protobuf(expected: Event) -> bytes:
    return event_to_wire(expected).SerializeToString()


def as_json(**changes: object) -> bytes:
    plain = {"id": "e1", "userId": "mia", "itemId": "a", "action": "ACTION_LIKE", "time": "2001-09-09T01:46:40Z"}
    return json.dumps({**plain, **changes}).encode()


GOOD = event("e1")


def with_field(field: str, value: object) -> bytes:
    """The good event with a number that no name stands for, or without a field (None)."""
    message = event_to_wire(GOOD)
    message.ClearField(field) if value is None else setattr(message, field, value)
    return message.SerializeToString()


POISON: dict[Reason | Unreadable, list[Row]] = {
    Unreadable.EMPTY: [Row(None), Row(b"")],
    Unreadable.TOO_LARGE: [Row(b"x" * (MAX_BYTES + 1))],
    Unreadable.NOT_PROTOBUF: [Row(b"\xff\xff\xff"), Row(b"\x0a\x02\xff\xfe"), Row(protobuf(GOOD)[:-1])],
    Unreadable.NOT_JSON: [
        Row(b"{"),
        Row(b'{"id": "\xff"}'),
        Row(b"hello", headers=[("Content-Type", b"application/json")]),
        Row(b'{"a":' + b"[" * 16_000),
    ],
    Reason.NOT_AN_EVENT: [
        Row(as_json(dwellMs=-1)),
        Row(as_json(time="yesterday")),
        Row(as_json(time="NaN")),
        Row(as_json(id=["e1"])),
        Row(as_json(action="\ud800")),
        Row(b"[1]", headers=[("content-type", b"application/json; charset=utf-8")]),
    ],
    Reason.NO_USER: [Row(protobuf(GOOD._replace(user_id=""))), Row(as_json(userId=""))],
    Reason.KEY_MISMATCH: [Row(protobuf(GOOD), None), Row(protobuf(GOOD), b"noah"), Row(protobuf(GOOD), b"")],
    Reason.BAD_ID: [
        Row(protobuf(GOOD._replace(id=""))),
        Row(protobuf(GOOD._replace(item_id="a" * 129))),
        Row(protobuf(GOOD._replace(cover_id="a\n"))),
        Row(protobuf(GOOD._replace(decision_id=" d"))),
        Row(protobuf(GOOD._replace(user_id="m" * 129)), b"m" * 129),
    ],
    Reason.UNKNOWN_ACTION: [Row(with_field("action", 77)), Row(as_json(action=0)), Row(as_json(action="ACTION_STARE"))],
    Reason.BAD_TIME: [Row(with_field("time", None)), Row(as_json(time="1969-12-31T23:59:59Z"))],
    Reason.TIME_IN_FUTURE: [Row(protobuf(GOOD._replace(time=NOW + 2 * limits.MAX_CLOCK_AHEAD_S)))],
    Reason.BAD_DWELL: [Row(protobuf(GOOD._replace(dwell_ms=limits.MAX_DWELL_MS + 1)))],
    Reason.DAMAGED_PROFILE: [],  # the store reports it: see test_loop.py
    Reason.OTHER_ITEM: [],  # the store knows it: see test_loop.py
}
"""Records that are refused, by reason."""


@pytest.mark.parametrize("reason", [*Unreadable, *Reason])
def test_every_reason_is_found(reason: Reason | Unreadable) -> None:
    for row in POISON[reason]:
        result = decode(row, NOW)
        assert isinstance(result, Poison), row
        assert (result.reason, row) == (reason, row)
        assert result.detail


@pytest.mark.parametrize(
    "headers", [(), [("content-type", b"application/x-protobuf"), ("trace", b"1")], [("content-type", None)]]
)
def test_a_protobuf_event_comes_back_whole(headers: Headers) -> None:
    assert decode(Row(protobuf(WHOLE), "mía".encode(), headers), NOW) == WHOLE


def test_json_in_either_spelling() -> None:
    for names in (True, False):
        text = MessageToJson(event_to_wire(WHOLE), preserving_proto_field_name=names).encode()
        result = decode(Row(text.lstrip(), "mía".encode()), NOW)
        assert result == WHOLE
    assert decode(Row(b" \n" + as_json(), headers=[("content-type", b"text/json")]), NOW) == event(
        "e1", action=Action.LIKE
    )


def test_fields_of_newer_producers_are_ignored_in_both_forms() -> None:
    assert isinstance(decode(Row(as_json(invented=[1])), NOW), Event)
    assert isinstance(decode(Row(protobuf(event("e1")) + b"\xf8\x07\x01"), NOW), Event)


def test_an_hour_ahead_is_drift() -> None:
    ahead = event("e1", time=NOW + limits.MAX_CLOCK_AHEAD_S)
    assert decode(Row(protobuf(ahead)), NOW) == ahead
    later = decode(Row(protobuf(ahead._replace(time=ahead.time + 1))), NOW)
    assert isinstance(later, Poison)
    assert later.reason is Reason.TIME_IN_FUTURE


def test_the_limit_of_bytes_lets_the_largest_event_in() -> None:
    longest = "\U0001f600" * limits.MAX_ID
    largest = Event(longest, longest, longest, Action.DWELL, 1e9, longest, longest, limits.MAX_DWELL_MS)
    text = MessageToJson(event_to_wire(largest)).encode()
    assert decode(Row(text, longest.encode()), NOW) == largest


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes_are_an_event_or_a_reason(value: bytes, json_said: bool) -> None:
    headers = [("content-type", b"application/json")] if json_said else []
    assert isinstance(decode(Row(value, b"mia", headers), time.time()), Event | Poison)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([f.json_name for f in types_pb2.Event.DESCRIPTOR.fields] + ["x"]), _JSON))
def test_arbitrary_objects_are_an_event_or_a_reason(data: dict[str, object]) -> None:
    assert isinstance(decode(Row(json.dumps(data).encode()), time.time()), Event | Poison)


@given(
    st.builds(
        Event,
        st.text(),
        st.text(),
        st.text(),
        st.sampled_from(Action),
        st.floats(0, 4e9).map(lambda at: round(at, 6)),  # what a Timestamp can hold
        st.text(),
        st.text(),
        st.integers(0, 2**32 - 1),
    )
)
def test_what_the_api_refuses_is_refused_and_nothing_else(expected: Event) -> None:
    check = limits.Check()
    sent = protobuf(expected)
    check.event("event", expected, NOW)
    result = decode(Row(sent, expected.user_id.encode()), NOW)
    assert isinstance(result, Event) == (not check.violations)


@pytest.mark.parametrize("reason", [*Unreadable, *Reason])
def test_one_that_is_refused_sends_all_to_a_closer_look(reason: Reason | Unreadable) -> None:
    good = Row(protobuf(WHOLE), "mía".encode())
    for row in POISON[reason]:
        for rows in ([row], [row, good], [good, row, good]):
            assert decode_all(rows, NOW) is None, row


def test_many_are_what_each_is() -> None:
    events = [event(f"e{n}", action=action, dwell_ms=n) for n, action in enumerate(Action)]
    rows = [Row(protobuf(e), headers=[("trace", b"1")]) for e in events]
    assert decode_all(rows, NOW) == [decode(row, NOW) for row in rows] == events
    assert decode_all([], NOW) == []
    json_row = Row(as_json(), headers=[("content-type", b"application/json")])
    assert decode_all([*rows, json_row], NOW) is None, "JSON is for the closer look"


@given(st.lists(st.tuples(st.binary(max_size=60) | st.sampled_from([protobuf(WHOLE), as_json(), None]), st.booleans())))
def test_arbitrary_records_are_never_taken_together_for_what_none_is(result: list[tuple[bytes | None, bool]]) -> None:
    headers = {True: [("content-type", b"application/json")], False: []}
    rows = [Row(value, "mía".encode(), headers[json_said]) for value, json_said in result]
    events = decode_all(rows, NOW)
    assert events is None or events == [decode(row, NOW) for row in rows]
