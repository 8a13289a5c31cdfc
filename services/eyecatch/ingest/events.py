"""The bytes of a Kafka record -> an Event, or the reason why it is none. Never raises; reads no clock and no store."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError, Message

from eyecatch.core import limits
from eyecatch.core.errors import InvalidInput, Violation
from eyecatch.core.types import Event
from eyecatch.messages import event_from_wire, events_from_wire
from eyecatch.v1 import types_pb2

# Five ids of 128 characters that JSON escapes at twelve bytes each are 8 KiB.
MAX_BYTES = 16 * 1024
CONTENT_TYPE = "content-type"
_BRACE = ord("{")
M = TypeVar("M", bound=Message)
Headers = Sequence[tuple[str, bytes | None]]
"""Other producers' headers may have null for a value."""


class Reason(StrEnum):
    """Why a record is not absorbed. docs/ingest.md says what to do about each."""

    EMPTY = "empty"
    TOO_LARGE = "too-large"
    NOT_PROTOBUF = "not-protobuf"
    NOT_JSON = "not-json"
    NOT_AN_EVENT = "not-an-event"
    NO_USER = "no-user"
    KEY_MISMATCH = "key-mismatch"
    BAD_ID = "bad-id"
    UNKNOWN_ACTION = "unknown-action"
    BAD_TIME = "bad-time"
    TIME_IN_FUTURE = "time-in-future"
    BAD_DWELL = "bad-dwell"
    DAMAGED_PROFILE = "damaged-profile"


class Poison(NamedTuple):
    """`detail` names field, value and what is allowed; it may hold ids of a user, so it never goes to a log."""

    reason: StrEnum
    detail: str


class Record(Protocol):
    """What we read of kafka-python's ConsumerRecord."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


def parsed(record: Record, kind: type[M], unlike: StrEnum) -> M | Poison:
    """The message of a record, in protobuf or JSON; `unlike` is the reason why JSON of another shape is none."""
    value, name = record.value, kind.DESCRIPTOR.full_name
    if not value:
        return Poison(Reason.EMPTY, f"no bytes; allowed: an {name} in protobuf or JSON")
    if len(value) > MAX_BYTES:
        return Poison(Reason.TOO_LARGE, f"{len(value)} bytes; allowed: at most {MAX_BYTES}")
    try:
        if not _is_json(value, record.headers):
            return kind.FromString(value)
        data = json.loads(value)
        if not isinstance(data, dict):
            return Poison(unlike, f"a JSON {type(data).__name__}; allowed: an object")
        return ParseDict(data, kind(), ignore_unknown_fields=True)
    except DecodeError:
        return Poison(Reason.NOT_PROTOBUF, f"{len(value)} bytes; allowed: a serialised {name}")
    except (
        ParseError,
        SystemError,
    ) as error:  # protobuf's C parser raises the latter for an action of half a surrogate
        return Poison(unlike, str(error)[:200])
    except (ValueError, RecursionError) as error:
        return Poison(Reason.NOT_JSON, str(error)[:200])


def decode(record: Record, now: float) -> Event | Poison:
    """The event of a record; `now` in UNIX seconds is what "in the future" is measured by."""
    message = parsed(record, types_pb2.Event, Reason.NOT_AN_EVENT)
    if isinstance(message, Poison):
        return message
    try:
        event = event_from_wire(message, "event")
    except InvalidInput as error:
        return Poison(Reason.UNKNOWN_ACTION, str(error))
    if record.key == event.user_id.encode() and limits.Check.good(event, now):
        return event
    return _refusal(event, record.key, now) or event


def decode_all(records: Sequence[Record], now: float) -> list[Event] | None:
    """The same of many records in two thirds of the time, if they are all protobuf and good; None: each needs a look of its own."""
    values = [record.value or b"{" for record in records]  # what has no value is no protobuf
    if max(map(len, values), default=0) > MAX_BYTES or _BRACE in {value[0] for value in values}:
        return None
    if any(record.headers and _is_json(b"-", record.headers) for record in records):
        return None
    try:
        events = events_from_wire(list(map(types_pb2.Event.FromString, values)))
    except (DecodeError, InvalidInput):
        return None
    keyed = [record.key for record in records] == [event.user_id.encode() for event in events]
    return events if keyed and limits.Check.all_good(events, now) else None


def _is_json(value: bytes, headers: Headers) -> bool:
    """By the content type if a header tells it, else by the brace, with which no serialised Event begins."""
    for name, said in headers:
        if name.lower() == CONTENT_TYPE:
            return b"json" in (said or b"").lower()
    return value[0] == _BRACE


def _refusal(event: Event, key: bytes | None, now: float) -> Poison | None:
    if not event.user_id:
        return Poison(Reason.NO_USER, "event.user_id: got ''; allowed: an id")
    if key != event.user_id.encode():
        got = "no key" if key is None else f"a key of {len(key)} bytes"
        return Poison(Reason.KEY_MISMATCH, f"{got}; allowed: the event's user id, so that a user has one partition")
    check = limits.Check()
    check.event("event", event, now)
    return _named(check.violations[0], event, now) if check.violations else None


def _named(violation: Violation, event: Event, now: float) -> Poison:
    match violation.field:
        case "event.time":
            reason = Reason.TIME_IN_FUTURE if event.time > now else Reason.BAD_TIME
        case "event.dwell_ms":
            reason = Reason.BAD_DWELL
        case _:
            reason = Reason.BAD_ID
    return Poison(reason, str(violation))
