"""Event messages <-> core events, for whoever meets them: the API and Kafka. Pure translation: no limit is checked here."""

from google.protobuf.timestamp_pb2 import Timestamp

from eyecatch.core.errors import InvalidInput
from eyecatch.core.types import Action, Event
from eyecatch.v1 import types_pb2

_ACTIONS = {int(action): action for action in Action}


def timestamp(seconds: float) -> Timestamp:
    whole = int(seconds // 1)
    return Timestamp(seconds=whole, nanos=min(999_999_999, int((seconds - whole) * 1e9)))


def event_from_wire(event: types_pb2.Event, field: str) -> Event:
    """Raises InvalidInput for an action number that has no name."""
    action = _ACTIONS.get(event.action)
    if action is None:
        allowed = ", ".join(f"ACTION_{a.name}" for a in Action)
        raise InvalidInput.of(f"{field}.action", int(event.action), allowed)
    time = event.time  # each access makes an object
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
