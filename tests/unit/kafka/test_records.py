"""Bytes of a record -> the message in it, of any kind, or the reason why there is none."""

from enum import StrEnum
from typing import NamedTuple

import pytest
from eyecatch.kafka.records import MAX_BYTES, Headers, Poison, Unreadable, message_of
from eyecatch.v1 import generation_pb2, types_pb2

WHOLE = generation_pb2.CoverRequest(item_id="a", count=2)


class Reason(StrEnum):
    WRONG_SHAPE = "wrong-shape"


class Row(NamedTuple):
    value: bytes | None
    headers: Headers = ()
    key: bytes | None = None
    topic: str = "t"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0


@pytest.mark.parametrize(
    "row",
    [
        Row(WHOLE.SerializeToString()),
        Row(b'{"itemId": "a", "count": 2, "later": 1}'),
        Row(b' {"itemId": "a", "count": 2}', (("Content-Type", b"application/json"),)),
        Row(WHOLE.SerializeToString(), (("content-type", None),)),
        Row(b'\n{"itemId": "a", "count": 2}'),
        Row(b' \t\r\n {"itemId": "a", "count": 2}\n'),
        Row(b'\xef\xbb\xbf{"itemId": "a", "count": 2}'),
        Row(b'\xef\xbb\xbf\n{"itemId": "a", "count": 2}', (("content-type", b"application/json"),)),
    ],
)
def test_protobuf_and_json_are_told_apart(row: Row) -> None:
    assert message_of(row, generation_pb2.CoverRequest, Reason.WRONG_SHAPE) == WHOLE


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Row(None), Unreadable.EMPTY),
        (Row(b""), Unreadable.EMPTY),
        (Row(b"x" * (MAX_BYTES + 1)), Unreadable.TOO_LARGE),
        (Row(b"\xff\xff"), Unreadable.NOT_PROTOBUF),
        (Row(b"{"), Unreadable.NOT_JSON),
        (Row(b'\n {"itemId": '), Unreadable.NOT_JSON),
        (Row(b"\xef\xbb\xbf{"), Unreadable.NOT_JSON),
        (Row(b'{"count": "many"}'), Reason.WRONG_SHAPE),
        (Row(b"[1]", (("content-type", b"application/json"),)), Reason.WRONG_SHAPE),
    ],
)
def test_what_holds_no_message_has_a_reason(row: Row, reason: StrEnum) -> None:
    refused = message_of(row, generation_pb2.CoverRequest, Reason.WRONG_SHAPE)
    assert isinstance(refused, Poison)
    assert refused.reason is reason


def test_a_protobuf_whose_first_id_is_as_long_as_a_brace_is_protobuf() -> None:
    message = types_pb2.Event(id="x" * ord("{"), user_id="mia", item_id="a")
    value = message.SerializeToString()
    assert value.startswith(b"\n{")
    assert message_of(Row(value), types_pb2.Event, Reason.WRONG_SHAPE) == message
