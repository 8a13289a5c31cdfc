"""eyecatch events record, eyecatch users show | forget: clients of the Behavior service."""

import time
import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from eyecatch.commands.common import Answer, as_json, fail
from eyecatch.commands.flags import remote

if TYPE_CHECKING:
    from eyecatch.client import Client

events = typer.Typer(help="Send behaviour to a running server.", no_args_is_help=True)
users = typer.Typer(help="Show or forget a user on a running server.", no_args_is_help=True)

UserId = Annotated[str, typer.Argument(help="User id.")]
ACTIONS = ("impression", "click", "like", "dislike", "purchase", "dwell")


@events.command("record")
@remote
def record(
    client: "Client",
    user: UserId,
    item: Annotated[str, typer.Argument(help="Item id.")],
    action: Annotated[str, typer.Argument(help=", ".join(ACTIONS))],
    cover: Annotated[str, typer.Option(help="Cover id that was shown.")] = "",
    decision: Annotated[str, typer.Option(help="Decision id of the recommendation.")] = "",
    dwell_ms: Annotated[int, typer.Option(help="Milliseconds, for dwell.")] = 0,
    event_id: Annotated[str, typer.Option(help="Unique id; empty = a new one.")] = "",
) -> Answer:
    """Record one event: USER did ACTION with ITEM, now."""
    from google.protobuf.timestamp_pb2 import Timestamp

    from eyecatch.v1 import behavior_pb2, types_pb2

    if action.lower() not in ACTIONS:
        fail(f"error: action {action!r}; allowed: {', '.join(ACTIONS)}")
    event = types_pb2.Event(
        id=event_id or uuid.uuid4().hex,
        user_id=user,
        item_id=item,
        cover_id=cover,
        action=types_pb2.Action.Value(f"ACTION_{action.upper()}"),
        time=Timestamp(seconds=int(time.time())),
        decision_id=decision,
        dwell_ms=dwell_ms,
    )
    response = client.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=[event]), timeout=10)
    data = {"event_id": event.id, "accepted": response.accepted, "ignored": response.ignored}
    text = "recorded" if response.accepted else "already known or user forgotten; nothing changed"
    return Answer(data, f"event {event.id}: {text}")


@users.command("show")
@remote
def show(client: "Client", user: UserId) -> Answer:
    """Show the stored profile of a user."""
    from eyecatch.v1 import behavior_pb2, types_pb2

    profile = client.behavior.GetProfile(behavior_pb2.GetProfileRequest(user_id=user), timeout=10).profile
    rows = [
        (e.time.ToJsonString(), types_pb2.Action.Name(e.action).removeprefix("ACTION_").lower(), e.item_id, e.cover_id)
        for e in profile.recent_events
    ]
    taste = profile.taste if profile.HasField("taste") else "unknown"
    title = f"{user}: {profile.event_count} events, taste cluster {taste}"
    return Answer(as_json(profile), title, ("time", "action", "item", "cover"), rows)


@users.command("forget")
@remote
def forget(client: "Client", user: UserId) -> Answer:
    """Remove a user from every store; replays do not restore the user."""
    from eyecatch.v1 import behavior_pb2

    existed = client.behavior.ForgetUser(behavior_pb2.ForgetUserRequest(user_id=user), timeout=10).existed
    text = "forgotten" if existed else "nothing was stored; later events of this user are ignored all the same"
    return Answer({"existed": existed}, text)
