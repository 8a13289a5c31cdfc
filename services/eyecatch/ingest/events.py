"""A Kafka record -> an Event, or the reason why it has none. Never raises; uses no clock and no store."""

from collections.abc import Sequence
from enum import StrEnum

from google.protobuf.message import DecodeError

from eyecatch.core import limits
from eyecatch.core.errors import InvalidInput, Violation
from eyecatch.core.types import Event
from eyecatch.kafka.records import JSON_BRACE, MAX_BYTES, Poison, Record, is_json, message_of
from eyecatch.messages import event_from_wire, events_from_wire
from eyecatch.v1 import types_pb2


class Reason(StrEnum):
    """Why a message is not absorbed, beside kafka.records.Unreadable. docs/ingest.md says what to do about each."""

    NOT_AN_EVENT = "not-an-event"
    NO_USER = "no-user"
    KEY_MISMATCH = "key-mismatch"
    BAD_ID = "bad-id"
    UNKNOWN_ACTION = "unknown-action"
    BAD_TIME = "bad-time"
    TIME_IN_FUTURE = "time-in-future"
    BAD_DWELL = "bad-dwell"
    OTHER_ITEM = "cover-of-another-item"
    DAMAGED_PROFILE = "damaged-profile"


def decode(record: Record, now: float) -> Event | Poison:
    """The event of a record. `now`: UNIX seconds; events far in the future are poison."""
    message = message_of(record, types_pb2.Event, Reason.NOT_AN_EVENT)
    if isinstance(message, Poison):
        return message
    try:
        event = event_from_wire(message, "event")
    except InvalidInput as error:
        return Poison(Reason.UNKNOWN_ACTION, str(error))
    if record.key == event.user_id.encode() and limits.Check.is_valid(event, now):
        return event
    return _refusal(event, record.key, now) or event


def decode_all(records: Sequence[Record], now: float) -> list[Event] | None:
    """The events of many records in two thirds of the time, or None if not all are valid protobuf events with their keys."""
    values = [record.value or b"{" for record in records]  # a record without a value is not protobuf
    if max(map(len, values), default=0) > MAX_BYTES or JSON_BRACE in {value[0] for value in values}:
        return None
    if any(record.headers and is_json(b"-", record.headers) for record in records):
        return None
    try:
        events = events_from_wire(list(map(types_pb2.Event.FromString, values)))
    except (DecodeError, InvalidInput):
        return None
    keyed = [record.key for record in records] == [event.user_id.encode() for event in events]
    return events if keyed and limits.Check.all_valid(events, now) else None


def _refusal(event: Event, key: bytes | None, now: float) -> Poison | None:
    if not event.user_id:
        return Poison(Reason.NO_USER, "event.user_id: got ''; allowed: an id")
    if key != event.user_id.encode():
        got = "no key" if key is None else f"a key of {len(key)} bytes"
        return Poison(
            Reason.KEY_MISMATCH,
            f"{got}; allowed: the event's user id, so that all events of a user are in one partition",
        )
    check = limits.Check()
    check.event("event", event, now)
    return _poison_of(check.violations[0], event, now) if check.violations else None


def _poison_of(violation: Violation, event: Event, now: float) -> Poison:
    match violation.field:
        case "event.time":
            reason = Reason.TIME_IN_FUTURE if event.time > now else Reason.BAD_TIME
        case "event.dwell_ms":
            reason = Reason.BAD_DWELL
        case _:
            reason = Reason.BAD_ID
    return Poison(reason, str(violation))
