"""Messages <-> core types that both the API and Kafka carry: events, vectors and drawings. Pure translation: no limit is checked."""

from collections.abc import Sequence

import numpy as np
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from eyecatch.core.drawing import Drawing
from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import Action, Event, UserVector
from eyecatch.v1 import types_pb2

_ACTIONS = {int(action): action for action in Action}
_new_tuple = tuple.__new__  # the class's own __new__ takes twice as long


def timestamp(seconds: float) -> Timestamp:
    whole = int(seconds // 1)
    return Timestamp(seconds=whole, nanos=min(999_999_999, int((seconds - whole) * 1e9)))


def event_from_wire(event: types_pb2.Event, field: str) -> Event:
    """Raises InvalidInput for an action number that has no name."""
    action = _ACTIONS.get(event.action)
    if action is None:
        allowed = ", ".join(f"ACTION_{a.name}" for a in Action)
        raise InvalidInput.of(f"{field}.action", int(event.action), allowed)
    time = event.time  # each access creates an object
    return Event(
        event.id,
        event.user_id,
        event.item_id,
        action,
        time.seconds + time.nanos * 1e-9,
        event.cover_id,
        event.decision_id,
        event.dwell_ms,
    )


def events_from_wire(events: Sequence[types_pb2.Event]) -> list[Event]:
    """The events of many messages: column by column, which takes two thirds of the time. Raises InvalidInput."""
    actions = [_ACTIONS.get(event.action) for event in events]
    if None in actions:
        return [event_from_wire(event, "event") for event in events]
    times = [event.time for event in events]
    columns = (
        [event.id for event in events],
        [event.user_id for event in events],
        [event.item_id for event in events],
        actions,
        [time.seconds + time.nanos * 1e-9 for time in times],
        [event.cover_id for event in events],
        [event.decision_id for event in events],
        [event.dwell_ms for event in events],
    )
    return [_new_tuple(Event, row) for row in zip(*columns, strict=True)]


def vector_from_wire(message: types_pb2.UserEmbedding) -> UserVector:
    return UserVector(message.user_id, np.array(message.values, np.float32))


def event_to_wire(event: Event) -> types_pb2.Event:
    return types_pb2.Event(
        id=event.id,
        user_id=event.user_id,
        item_id=event.item_id,
        cover_id=event.cover_id,
        action=types_pb2.Action.ValueType(event.action),
        time=timestamp(event.time),
        decision_id=event.decision_id,
        dwell_ms=event.dwell_ms,
    )


def drawing_from_wire(message: Message) -> Drawing:
    """The knobs of a request, whose fields have the names of Drawing's fields. The model chooses knobs that are absent."""
    knobs = (field for field in message.DESCRIPTOR.fields if not field.has_presence or message.HasField(field.name))
    values = {field.name: getattr(message, field.name) for field in knobs}
    if (size := values.pop("size", None)) is not None:
        values["size"] = (size.width, size.height)
    return Drawing.of(values)


def drawing_to_wire(drawing: Drawing, message: Message) -> None:
    """Set the fields of knobs that differ from their defaults, as far as the message has them."""
    for name, value in drawing.set_knobs().items():
        if name == "size":
            message.size.CopyFrom(types_pb2.Size(width=value[0], height=value[1]))  # type: ignore[attr-defined]
        elif name in message.DESCRIPTOR.fields_by_name:
            setattr(message, name, value)
